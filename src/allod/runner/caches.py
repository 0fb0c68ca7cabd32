"""KV state of rows, in mlx-lm's and mlx-vlm's cache classes: alone, merged into a batch, and taken out again.

A single row keeps the unbatched classes, which need no padding and no mask; two or more rows use the
batched ones. The classes convert into each other without recomputing anything. Both libraries give the
kinds of state the same names and methods, so a state is told by the name of its class.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
from mlx_lm.models import cache as kinds

RowState = list["kinds.LayerCache"]
"""One cache per layer."""

FULL, SLIDING, RECURRENT, SEVERAL = "KVCache", "RotatingKVCache", "ArraysCache", "CacheList"


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


def kind_of(layer: kinds.LayerCache) -> str:
    """The name of a cache's class."""
    return type(layer).__name__


def inner(layer: kinds.LayerCache) -> Sequence[kinds.LayerCache]:
    """The caches that a cache of several holds."""
    return getattr(layer, "caches", ())


def why_alone(state: RowState) -> str:
    """Why rows with such state cannot share a batch; empty when they can."""
    for layer in state:
        if reason := _why_layer_alone(layer):
            return reason
    return ""


def _why_layer_alone(layer: kinds.LayerCache) -> str:
    kind = kind_of(layer)
    if kind == SEVERAL:
        return next((reason for cache in inner(layer) if (reason := _why_layer_alone(cache))), "")
    if kind == SLIDING and getattr(layer, "keep", 0):
        return "its sliding-window cache pins first tokens, which cannot be batched"
    if kind in (FULL, SLIDING, RECURRENT):
        return ""
    return f"there is no batched form of its {kind}"
