"""`allod alias`, `unalias` and `dialect`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allod.core.ids import ModelName
from allod.registry.catalog import Catalog
from allod.testing.models import tiny_card

Run = Callable[..., Any]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """The catalogue of the home that the commands use, with one model."""
    catalog = Catalog(tmp_path / "models")
    with catalog.staging() as staged:
        catalog.adopt(staged, tiny_card("tiny"))
    return catalog


def test_an_alias_is_added_listed_and_forgotten(allod: Run, catalog: Catalog) -> None:
    """With its preferences; the model stays."""
    assert allod("alias", "gpt-4o", "tiny", "--reasoning", "none", "--no-thinking").code == 0
    assert catalog.named("gpt-4o").name == "tiny"
    assert allod("alias").out.splitlines() == ["gpt-4o\ttiny\tnone\toff"]
    (told,) = json.loads(allod("alias", "--json").out)
    assert told == {"name": "gpt-4o", "model": "tiny", "reasoning": "none", "thinking": False}
    assert allod("unalias", "gpt-4o").code == 0
    assert catalog.aliases.all() == ()
    assert catalog.named("tiny").name == "tiny"


@pytest.mark.parametrize("words", [("alias", "gpt-4o"), ("alias", "x", "nobody"), ("unalias", "x")])
def test_what_cannot_be_is_refused(allod: Run, catalog: Catalog, words: tuple[str, ...]) -> None:
    """Without a model, with an unknown one, of an unknown alias; nothing changes."""
    ended = allod(*words)
    assert ended.code != 0
    assert words[-1] in ended.err
    assert catalog.aliases.all() == ()


def test_a_dialect_is_chosen_and_left_to_the_template_again(allod: Run, catalog: Catalog) -> None:
    """A name that there is not is refused with those that there are."""
    assert allod("dialect", "tiny").out.strip() == "auto"
    assert allod("dialect", "tiny", "glm").code == 0
    assert catalog.card(ModelName("tiny")).tool_dialect == "glm"
    assert allod("dialect", "tiny").out.strip() == "glm"
    refused = allod("dialect", "tiny", "klingon")
    assert refused.code != 0
    assert "hermes" in refused.err
    assert catalog.card(ModelName("tiny")).tool_dialect == "glm"
    allod("dialect", "tiny", "auto")
    assert catalog.card(ModelName("tiny")).tool_dialect is None
