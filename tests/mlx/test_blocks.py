"""What is kept as bytes, and back."""

from collections.abc import Sequence

import mlx.core as mx
import pytest
from tests.contract.test_runner_contract import random_model
from tests.scaffolding.families import DEVICE

from allod.core.step import ModelFacts
from allod.device.choose import choose
from allod.runner.blocks import packed, unpacked
from allod.runner.caches import Entries, TipArrays
from allod.runner.probe import measure

pytestmark = pytest.mark.mlx

DTYPES = (mx.float32, mx.float16, mx.bfloat16, mx.int32, mx.uint32)


def numbers(*shape: int, dtype: mx.Dtype = mx.float32) -> mx.array:
    return (mx.random.normal(shape) * 100).astype(dtype)


def is_same(left: mx.array | None, right: mx.array | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.dtype == right.dtype and left.shape == right.shape and left.tolist() == right.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_comes_back_bit_by_bit(dtype: mx.Dtype) -> None:
    """Entries, windows and recurrent states, of which a part may not be there, in any mixture."""
    entries = tuple((numbers(1, 2, 5, 4, dtype=dtype), numbers(1, 2, 5, 3)) for _ in range(3))
    tip: tuple[TipArrays, ...] = (
        (numbers(1, 2, 7, 4, dtype=dtype), numbers(1, 2, 7, 4)),
        (None, numbers(1, 3, 6, 6, dtype=dtype)),
        (),
    )
    for kept_entries, kept_tip in ((entries, tip), (entries, ()), ((), tip), ((), ())):
        found = unpacked(packed(kept_entries, kept_tip))
        assert len(found.entries) == len(kept_entries)
        for left, right in zip(found.entries, kept_entries, strict=True):
            assert all(map(is_same, left, right))
        for left, right in zip(found.tip, kept_tip, strict=True):
            assert len(left) == len(right)
            assert all(map(is_same, left, right))


def test_what_is_not_known_is_refused() -> None:
    """Rather than written as something else."""
    with pytest.raises(ValueError, match="bool"):
        packed([], [(mx.zeros((1, 2)) == 0,)])


def facts_of(family: str) -> ModelFacts:
    return measure(random_model(family), choose(DEVICE), 2**31, 2048)


def test_the_probe_says_what_bytes_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose states are others afterwards is kept in memory alone."""

    def lossy(entries: Sequence[Entries], tip: Sequence[TipArrays] = ()) -> bytes:
        return packed(entries, [tuple(None if a is None else a * 0 for a in layer) for layer in tip])

    monkeypatch.setattr("allod.runner.agreement.packed", lossy)
    facts = facts_of("qwen3_next")
    assert facts.unkept_because == ""
    assert "behind what was turned into bytes" in facts.unstored_because
    assert facts_of("llama").unstored_because == ""


def test_the_probe_says_what_cannot_be_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading goes on: nothing but the disk is lost."""

    def refuse(entries: Sequence[Entries], tip: Sequence[TipArrays] = ()) -> bytes:
        raise ValueError("arrays of complex64 are not written")

    monkeypatch.setattr("allod.runner.agreement.packed", refuse)
    assert facts_of("llama").unstored_because == (
        "what is kept of it cannot be turned into bytes: arrays of complex64 are not written"
    )
