"""`allod models show`: the card, and what products took, from the file alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.scaffolding.timings import made_up

from allod.cli.exits import ExitCode
from allod.config import Settings
from allod.registry.catalog import Catalog
from allod.runner.measured import (
    ROWS_FIRST,
    STORED,
    WEIGHTS_FIRST,
    Circumstances,
    Kind,
    Measured,
    MeasuredKind,
    Timing,
    Way,
    write,
)
from allod.testing.models import tiny_card

Run = Callable[..., Any]

PACKED = Kind("block", 96, 64, "float32", 4, 32, "affine")
HEAD = Kind("head", 320, 64, "float32", 8, 32, "affine")


def few_by_weights(_kind: Kind, way: Way, rows: int) -> float:
    """Weights first is best up to eight rows, rows first beyond."""
    best = WEIGHTS_FIRST if rows <= 8 else ROWS_FIRST
    return rows * (1e-3 if way == best else 2e-3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where timings of the model `one` are, which is in the catalogue."""
    catalog = Catalog(tmp_path / "models")
    with catalog.staging() as folder:
        catalog.adopt(folder, tiny_card("one", quantization="4-bit g32", context_tokens=8192))
    return Settings(home=tmp_path).measured_file("one")


def measured() -> Measured:
    head = (*made_up(HEAD, few_by_weights)[:-1], Timing(STORED, 32, 1.5, estimated=True))
    kinds = (
        MeasuredKind(PACKED, 4, 100, 800, made_up(PACKED, few_by_weights), dense_modules=3),
        MeasuredKind(HEAD, 1, 100, 400, head),
    )
    words = "stored 8-bit, dense float32 for 3 of 5 products"
    return Measured(Circumstances("a device", "0.32", "a blas", 1), kinds, words, 1.25)


def test_the_card_alone_before_the_first_load(allod: Run, file: Path) -> None:
    """The facts are on stdout, and that nothing was measured yet on stderr."""
    ended = allod("models", "show", "one")
    assert ended.code == 0
    assert "weights\t4-bit g32, 1 B\n" in ended.out
    assert "context\t8192 tokens\n" in ended.out
    assert "measured when it is first loaded" in ended.err


def test_what_was_measured_is_a_table(allod: Run, file: Path) -> None:
    """A line for each way: ms at each number of rows, and the rows, or how many products, it serves."""
    write(file, measured())
    ended = allod("models", "show", "one")
    assert "compute\tstored 8-bit, dense float32 for 3 of 5 products\n" in ended.out
    assert "measured on\ta device, mlx 0.32, BLAS a blas\n" in ended.out
    lines = [line.split("\t") for line in ended.out.splitlines() if line.startswith(("block", "head"))]
    chosen = {(line[0].split()[0], line[2]): line[-1] for line in lines}
    assert {key: taken for key, taken in chosen.items() if taken} == {
        ("block", STORED): "1 of 4",
        ("block", WEIGHTS_FIRST): "1-8",
        ("block", ROWS_FIRST): "9 up",
        ("head", STORED): "all rows",
    }
    assert {len(line) for line in lines} == {3 + 9 + 1}
    (packed,) = [line for line in lines if line[0].startswith("head") and line[2] == STORED]
    assert "~1500.000" in packed


def test_a_machine_reads_the_same(allod: Run, file: Path) -> None:
    """`--json` has card, timings and ways; without timings these are null and empty."""
    before = json.loads(allod("models", "show", "one", "--json").out)
    assert (before["card"]["name"], before["measured"], before["ways"]) == ("one", None, [])
    write(file, measured())
    after = json.loads(allod("models", "show", "one", "--json").out)
    assert after["measured"]["kinds"][0]["kind"]["outputs"] == 96
    assert after["ways"][0][0] == [8, WEIGHTS_FIRST]


def test_the_list_and_an_unknown_model_are_as_before(allod: Run, file: Path) -> None:
    """`models` alone lists; a name that is not there is told with near ones."""
    assert allod("models").out.startswith("one\t")
    ended = allod("models", "show", "two")
    assert ended.code == ExitCode.NOT_FOUND
    assert "known: one" in ended.err


def test_models_that_embed_have_nothing_to_choose(allod: Run, tmp_path: Path) -> None:
    """It is said, so that nobody waits for a measurement."""
    catalog = Catalog(tmp_path / "models")
    with catalog.staging() as folder:
        catalog.adopt(folder, tiny_card("vectors", purpose="embedding"))
    assert "nothing to choose" in allod("models", "show", "vectors").err
