"""A chunk's entries behind those of a window: the kernel copies what a concatenation copies, bit for bit."""

import mlx.core as mx
import pytest

from allod.runner.entries import BehindKernel, Entries, concatenated, fits

KERNEL = pytest.mark.skipif(not mx.cuda.is_available(), reason="the kernel is for CUDA")


def entries(rows: int, heads: int, tokens: int, width: int, dtype: mx.Dtype) -> Entries:
    """Keys that a rotation wrote, and values as a joint product has them: between others, tokens first."""
    keys = mx.random.normal((rows, heads, tokens, width)).astype(dtype)
    beside = mx.random.normal((rows, tokens, 3 * heads * width)).astype(dtype)
    values = mx.split(beside, 3, axis=-1)[1].reshape(rows, tokens, heads, width).swapaxes(1, 2)
    return keys, values


def test_zeros_stand_behind_both() -> None:
    """What there is, what comes, and nothing up to the length."""
    before, more = entries(2, 3, 5, 8, mx.float32), entries(2, 3, 4, 8, mx.float32)
    for place, whole in enumerate(concatenated(before, more, 12)):
        assert whole.shape == (2, 3, 12, 8)
        assert mx.array_equal(whole[:, :, :5], before[place])
        assert mx.array_equal(whole[:, :, 5:9], more[place])
        assert mx.array_equal(whole[:, :, 9:], mx.zeros((2, 3, 3, 8)))


def test_entries_that_threads_cannot_share_out_are_not_for_the_kernel() -> None:
    """A thread copies sixteen bytes of an entry, and keys are as wide as values."""
    wide, narrow = entries(1, 1, 2, 8, mx.bfloat16), entries(1, 1, 2, 4, mx.bfloat16)
    assert fits(wide, wide)
    assert not fits(narrow, narrow)
    assert not fits(wide, (wide[0], narrow[1]))
    assert not fits(wide, entries(1, 1, 2, 8, mx.float32))


@KERNEL
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32], ids=str)
@pytest.mark.parametrize("shape", [(1, 16, 128), (1, 2, 64), (3, 5, 256), (1, 1, 8), (2, 3, 6)], ids=str)
@pytest.mark.parametrize("rest", [0, 1, 24])
def test_the_kernel_copies_as_a_concatenation_does(
    dtype: mx.Dtype, shape: tuple[int, int, int], rest: int
) -> None:
    """Whatever the sizes, a cut of a window before it, and strides of what comes."""
    rows, heads, width = shape
    held, more = entries(rows, heads, 100, width, dtype), entries(rows, heads, 40, width, dtype)
    before = held[0][:, :, 7:], held[1][:, :, 7:]
    length = 93 + 40 + rest
    for found, wanted in zip(
        BehindKernel()(before, more, length), concatenated(before, more, length), strict=True
    ):
        assert found.shape == wanted.shape
        assert mx.array_equal(found, wanted)
