"""The kernel for rows that decode together gives what MLX's own attention gives. CUDA only."""

from typing import cast

import mlx.core as mx
import pytest

from allod.runner.attention import Attention
from allod.runner.rows import RowAttention, part_count, shared_heads

TOLERANCES = {mx.bfloat16: 2e-2, mx.float16: 4e-3, mx.float32: 1e-3}


def test_heads_are_shared_out_evenly() -> None:
    """A block takes as many query heads of a key head as divide them, four at most."""
    assert [shared_heads(heads) for heads in (1, 2, 3, 4, 5, 6, 7, 8, 12)] == [1, 2, 3, 4, 1, 3, 1, 4, 4]


def test_keys_are_cut_where_blocks_are_few() -> None:
    """Enough parts to fill the device, none shorter than 256 keys."""
    assert part_count(256, 100_000) == 1
    assert part_count(16, 300) == 1
    assert part_count(16, 1024) == 4
    assert part_count(16, 100_000) == 16
    assert part_count(2, 1_000_000) == 32


@pytest.mark.skipif(not mx.cuda.is_available(), reason="the kernel is for CUDA")
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(2, 8, 2, 64), (3, 9, 3, 128), (32, 32, 8, 128), (5, 14, 2, 64)], ids=str)
@pytest.mark.parametrize("count", [1, 7, 256, 257, 1500, 9000])
def test_rows_attend_as_with_the_library(
    dtype: mx.Dtype, shape: tuple[int, int, int, int], count: int
) -> None:
    """Whatever the sizes, the padding in front of each row, and a cut of a larger buffer."""
    rows, heads, key_heads, width = shape
    mx.random.seed(count)
    q = mx.random.normal((rows, heads, 1, width)).astype(dtype)
    buffers = [mx.random.normal((rows, key_heads, count + 13, width)).astype(dtype) for _ in range(2)]
    k, v = (buffer[:, :, :count] for buffer in buffers)
    padding = mx.random.randint(0, count, (rows, 1, 1, 1))
    mask = mx.arange(count) >= padding
    library = cast("Attention", mx.fast.scaled_dot_product_attention)
    found = RowAttention(library)(q, k, v, scale=width**-0.5, mask=mask)
    wide = [each.astype(mx.float32) for each in (q, k, v)]
    expected = library(wide[0], wide[1], wide[2], scale=width**-0.5, mask=mask)
    assert found.dtype == dtype
    assert found.shape == q.shape
    distance = mx.linalg.norm(found.astype(mx.float32) - expected) / mx.linalg.norm(expected)
    assert distance.item() < TOLERANCES[dtype]
