"""What copying a batch takes."""

from typing import cast

import mlx.core as mx
from mlx_lm.models.cache import KVCache
from tests.scaffolding.memory import active_bytes

from allod.runner import caches
from allod.runner.caches import RowState

LAYERS = 32
TOKENS = 256
LAYER_BYTES = 2 * 4 * TOKENS * 64 * 4


def state(number: int) -> RowState:
    """Of one row that has read as much as its buffers hold."""
    layers = [KVCache() for _ in range(LAYERS)]
    for layer in layers:
        keys = mx.ones((1, 4, TOKENS, 64), dtype=mx.float32) * number
        layer.update_and_fetch(keys, -keys)
    mx.eval(caches.arrays(list(layers)))
    return list(layers)


def peak_bytes_of(rows: int) -> tuple[int, RowState]:
    """Bytes at most while rows are merged and appended to as many, beyond what they hold before."""
    batch, more = (caches.merge([state(row + 1) for row in range(rows)]) for _ in range(2))
    mx.eval(caches.arrays(batch), caches.arrays(more))
    before = active_bytes()
    mx.reset_peak_memory()
    caches.extend(batch, more, LAYER_BYTES)
    mx.eval(caches.arrays(batch))
    return mx.get_peak_memory() - before, batch


def test_a_batch_grows_in_little_more_than_its_own_bytes() -> None:
    """Layers that were copied are let go before the others are: what is there twice is a few layers."""
    extra_bytes, batch = peak_bytes_of(4)
    whole_bytes = 8 * LAYERS * LAYER_BYTES
    assert extra_bytes < whole_bytes / 8
    kept = cast("KVCache", batch[-1].extract(5)).keys
    assert kept is not None
    assert kept[0, 0, 0, 0].item() == 2


def test_rows_are_merged_in_little_more_than_their_own_bytes() -> None:
    """The states that come in are consumed as the batch is made."""
    states = [state(row) for row in range(6)]
    before = active_bytes()
    mx.reset_peak_memory()
    merged = caches.absorb(states, LAYER_BYTES)
    mx.eval(caches.arrays(merged))
    assert mx.get_peak_memory() - before < 6 * LAYERS * LAYER_BYTES / 8
    assert not any(states)
