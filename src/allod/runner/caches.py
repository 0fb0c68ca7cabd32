"""KV state of rows, in mlx-lm's own cache classes: alone, merged into a batch, and taken out again.

A single row keeps the unbatched classes, which need no padding and no mask; two or more rows use the
batched ones. The classes convert into each other without recomputing anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
from mlx_lm.models import cache as kinds
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

RowState = list["kinds.LayerCache"]
"""One cache per layer."""


def merge(rows: Sequence[RowState]) -> RowState:
    """Unbatched states of rows -> one batched state, in that order. The inputs stay valid."""
    return [layers[0].merge(list(layers)) for layers in zip(*rows, strict=True)]


def extend(batch: RowState, more: RowState) -> None:
    """Append the rows of one batched state to another, in place."""
    for layer, other in zip(batch, more, strict=True):
        layer.extend(other)


def keep(batch: RowState, rows: Sequence[int]) -> None:
    """Drop every row but these, in place."""
    indices = mx.array(rows)
    for layer in batch:
        layer.filter(indices)


def take(batch: RowState, row: int) -> RowState:
    """One row of a batched state, unbatched."""
    return [layer.extract(row) for layer in batch]


def arrays(state: RowState) -> list[object]:
    """Everything that must be evaluated for a state to be on the device."""
    return [layer.state for layer in state]


def why_alone(state: RowState) -> str:
    """Why rows with such state cannot share a batch; empty when they can."""
    for layer in state:
        if reason := _why_layer_alone(layer):
            return reason
    return ""


def _why_layer_alone(layer: kinds.LayerCache) -> str:
    if isinstance(layer, CacheList):
        return next((reason for cache in layer.caches if (reason := _why_layer_alone(cache))), "")
    if isinstance(layer, RotatingKVCache) and layer.keep:
        return "its sliding-window cache pins first tokens, which mlx-lm cannot batch"
    if type(layer) in (KVCache, RotatingKVCache, ArraysCache):
        return ""
    return f"mlx-lm has no batched form of its {type(layer).__name__}"
