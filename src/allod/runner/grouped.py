"""Rows of unlike length in one step: each group has a state of its own, padded to its own longest.

Everything in a model but attention is done for each token by itself, so that all rows share its products.
Where a layer turns to its cache, it finds one that gives each group its rows, and MLX's attention is
exchanged for one that lets each group attend to its own. So a long row does not make short ones as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import mlx.core as mx
from mlx_lm.models import cache as kinds

from allod.runner.attention import Attention, exchanged
from allod.runner.caches import RowState
from allod.runner.network import NetworkAround


@dataclass(frozen=True, slots=True)
class Pieces:
    """What stands for keys or values that are others for each group.

    Attributes:
        each: for every group its own, (B, H, T, D).
        cuts: where each group but the first begins among the rows.
    """

    each: Sequence[mx.array]
    cuts: list[int]


@dataclass(frozen=True, slots=True)
class Masks:
    """What stands for a mask: for every group its own, which may be none."""

    each: Sequence[mx.array | str | None]


class GroupedLayer:
    """What one layer finds in the place of its cache while groups decode together.

    Args:
        layers: each group's cache of this layer.
        cuts: where each group but the first begins among the rows.
        offsets: (B,) how much each row has read.
    """

    def __init__(self, layers: Sequence[kinds.LayerCache], cuts: list[int], offsets: mx.array) -> None:
        self._layers = list(layers)
        self._cuts = cuts
        self._offsets = offsets

    @property
    def offset(self) -> mx.array:
        """(B,) positions of the rows' tokens."""
        return self._offsets

    def make_mask(
        self, count: int, return_array: bool = False, window_size: int | None = None
    ) -> Masks | None:
        """Which keys each group's rows attend to."""
        masks = [
            layer.make_mask(count, return_array=return_array, window_size=window_size)
            for layer in self._layers
        ]
        return Masks(masks) if any(mask is not None for mask in masks) else None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Pieces, Pieces]:
        """Take in a token of each row; what each group attends to."""
        cut_keys, cut_values = (mx.split(each, self._cuts, axis=0) for each in (keys, values))
        held = [
            layer.update_and_fetch(own_keys, own_values)
            for layer, own_keys, own_values in zip(self._layers, cut_keys, cut_values, strict=True)
        ]
        return Pieces([each for each, _ in held], self._cuts), Pieces([each for _, each in held], self._cuts)


class GroupedNetwork(NetworkAround):
    """A network that takes groups; it stands below all that exchanges attention itself."""

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each; see `Network`."""
        if not isinstance(state[0], GroupedLayer):
            return super().logits(tokens, state, places)
        with exchanged(_each_for_itself(cast("Attention", mx.fast.scaled_dot_product_attention))):
            return super().logits(tokens, state, places)


def gather(states: Sequence[RowState], rows: Sequence[int], lengths: Sequence[int]) -> RowState:
    """What stands for the states of several groups while they decode a token together.

    Args:
        states: of each group.
        rows: how many it has.
        lengths: how much each row has read, in the order of the groups.
    """
    cuts = list(accumulate(rows))[:-1]
    offsets = mx.array(lengths, dtype=mx.int32)
    return cast("RowState", [GroupedLayer(layers, cuts, offsets) for layers in zip(*states, strict=True)])


def _each_for_itself(whole: Attention) -> Attention:
    """Attention of rows in groups, by a function that knows none."""

    def attend(
        q: mx.array,
        k: mx.array | Pieces,
        v: mx.array | Pieces,
        *,
        scale: float,
        mask: mx.array | str | Masks | None = None,
        **more: object,
    ) -> mx.array:
        if not isinstance(k, Pieces) or not isinstance(v, Pieces) or isinstance(mask, mx.array):
            raise TypeError("rows in groups attend to what their caches hold, behind masks of these")
        masks = mask.each if isinstance(mask, Masks) else [mask] * len(k.each)
        queries = mx.split(q, k.cuts, axis=0)
        parts = zip(queries, k.each, v.each, masks, strict=True)
        mixed = [
            whole(own, keys, values, scale=scale, mask=seen, **more) for own, keys, values, seen in parts
        ]
        return mx.concatenate(mixed)

    return cast("Attention", attend)
