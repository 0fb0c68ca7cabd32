"""What every Encoder promises: the loop of a worker relies on nothing else."""

import math
import shutil
from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.scaffolding import bert

from allod.core.ports import Encoder
from allod.device.cpu import CpuPlatform
from allod.runner.encoder import load_encoder
from allod.testing.encoder import FakeEncoder

ROWS = ((2, 5, 9, 3), (2, 3), (2, 7, 8, 9, 10, 11, 3))


@pytest.fixture(params=["fake", pytest.param("mlx", marks=pytest.mark.mlx)])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Encoder:
    if request.param == "fake":
        return FakeEncoder()
    bert.write_bert(tmp_path)
    shutil.copy(tmp_path / "1_Pooling" / "config.json", tmp_path / "pooling.json")
    return load_encoder(tmp_path, CpuPlatform(), 2**30, 512)


def vectors(encoder: Encoder, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    return [array("f", vector).tolist() for vector in encoder.embed(rows)]


def test_each_row_has_a_vector_of_unit_length(encoder: Encoder) -> None:
    """One each, all of the same number of dimensions."""
    found = vectors(encoder, ROWS)
    assert len({len(vector) for vector in found}) == 1
    assert [math.hypot(*vector) for vector in found] == pytest.approx([1.0] * len(ROWS), abs=1e-5)


def test_a_vector_depends_on_its_row_alone(encoder: Encoder) -> None:
    """Neither the rows beside it nor their order changes it."""
    together = vectors(encoder, ROWS)
    backwards = vectors(encoder, ROWS[::-1])[::-1]
    alone = [vectors(encoder, [row])[0] for row in ROWS]
    for found in (backwards, alone):
        for one, other in zip(together, found, strict=True):
            assert one == pytest.approx(other, abs=1e-6)


def test_the_facts_hold(encoder: Encoder) -> None:
    """The largest id and the longest row that the facts allow are embedded."""
    facts = encoder.facts
    assert encoder.embed([(facts.vocabulary - 1,) * facts.context_tokens])
    assert encoder.memory().active_bytes >= 0
