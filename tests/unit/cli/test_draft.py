"""`allod models draft`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.scaffolding.families import write_byte_tokenizer

from allod.cli.exits import ExitCode
from allod.registry.catalog import Catalog
from allod.testing.models import tiny_card

Run = Callable[..., Any]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """The catalogue of the home that the commands use, with two models of one family and one that embeds."""
    catalog = Catalog(tmp_path / "models")
    for name, size, purpose in (("large", 1000, "text"), ("small", 100, "text"), ("embeds", 1, "embedding")):
        with catalog.staging() as folder:
            write_byte_tokenizer(folder)
            catalog.adopt(folder, tiny_card(name, weights_bytes=size, purpose=purpose))
    return catalog


def test_a_pairing_is_made_shown_and_ended(allod: Run, catalog: Catalog) -> None:
    """Off unless somebody pairs; said by `draft` alone and by `show`."""
    assert allod("models", "draft", "large").out == "none\n"
    assert "draft model\tnone\n" in allod("models", "show", "large").out
    made = allod("models", "draft", "large", "small")
    assert made.code == 0
    assert "small drafts for large from its next load on" in made.err
    assert "warning" not in made.err
    assert allod("models", "draft", "large").out == "small\n"
    assert "draft model\tsmall\n" in allod("models", "show", "large").out
    assert allod("models", "draft", "large", "--none").code == 0
    assert catalog.card("large").draft is None


def test_a_doubtful_one_is_made_with_a_warning(allod: Run, catalog: Catalog) -> None:
    """It may be tried."""
    made = allod("models", "draft", "small", "large")
    assert made.code == 0
    assert "warning: large has 1000% of the weights of small" in made.err
    assert catalog.card("small").draft == "large"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("large", "embeds"), ExitCode.USAGE),
        (("large", "nobody"), ExitCode.NOT_FOUND),
        (("nobody", "--none"), ExitCode.NOT_FOUND),
        (("large", "small", "--none"), ExitCode.USAGE),
    ],
)
def test_what_cannot_be_is_refused(
    allod: Run, catalog: Catalog, words: tuple[str, ...], code: ExitCode
) -> None:
    """With a message that names it; nothing changes."""
    ended = allod("models", "draft", *words)
    assert ended.code == code
    assert words[0] in ended.err or words[1] in ended.err
    assert all(card.draft is None for card in catalog.cards())


def test_a_draft_model_that_is_removed_is_unpaired(allod: Run, catalog: Catalog) -> None:
    """And whoever removes it is told."""
    allod("models", "draft", "large", "small")
    removed = allod("rm", "small", "--yes")
    assert removed.code == 0
    assert "no model drafts for large any more" in removed.err
    assert catalog.card("large").draft is None
