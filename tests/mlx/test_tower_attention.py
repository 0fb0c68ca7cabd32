"""Attention of towers in strips: the same numbers, in less memory."""

import mlx.core as mx
import numpy as np
import pytest

from allod.runner.attention import in_strips

pytestmark = pytest.mark.mlx

HEADS, WIDTH = 4, 16
STRIP_BYTES = 16 * 2**20


def drawn(rows: int, columns: int) -> tuple[mx.array, mx.array, mx.array]:
    random = np.random.default_rng(7)
    sizes = (rows, columns, columns)
    q, k, v = (mx.array(random.normal(size=(1, HEADS, size, WIDTH)).astype(np.float32)) for size in sizes)
    return q, k, v


@pytest.mark.parametrize("mask", ["none", "for all rows", "for each row"])
def test_strips_mix_as_the_whole_does(mask: str):
    """With every kind of mask; each strip is noted, and outside the block nothing is cut."""
    rows = columns = 1500
    q, k, v = drawn(rows, columns)
    shapes = {"for all rows": (1, 1, 1, columns), "for each row": (1, 1, rows, columns)}
    hidden = mx.array(np.random.default_rng(8).normal(size=shapes[mask]) > 0) if mask in shapes else None
    whole = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask=hidden)
    noted: list[object] = []
    with in_strips(STRIP_BYTES, noted.append):
        cut = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask=hidden)
    assert len(noted) == -(-rows // (STRIP_BYTES // (HEADS * columns * 4)))
    assert np.allclose(np.asarray(cut), np.asarray(whole), atol=1e-5)
    before = len(noted)
    mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask=hidden)
    assert len(noted) == before


def test_small_attention_and_empty_windows_stay_whole():
    """What fits is not cut, and a window without patches is no division by nothing."""
    noted: list[object] = []
    with in_strips(STRIP_BYTES, noted.append):
        small = mx.fast.scaled_dot_product_attention(*drawn(40, 40), scale=0.25, mask=None)
        empty = mx.fast.scaled_dot_product_attention(*drawn(0, 0), scale=0.25, mask=None)
    assert (small.shape, empty.shape) == ((1, HEADS, 40, WIDTH), (1, HEADS, 0, WIDTH))
    assert noted == []


def test_strips_bound_what_scores_take():
    """Evaluated one after the other, as pieces are: the scores of 3,000 patches would take 144 MB."""
    q, k, v = drawn(3000, 3000)
    mx.eval(q, k, v)
    noted: list[object] = []
    with in_strips(STRIP_BYTES, noted.append):
        mixed = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask=None)
    held_bytes = mx.get_active_memory()
    mx.reset_peak_memory()
    for strip in (*noted, mixed):
        mx.eval(strip)
    assert mx.get_peak_memory() - held_bytes < 4 * STRIP_BYTES
