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

from allod.runner.attention import Attention
from allod.runner.caches import RECURRENT, RowState, kind_of
from allod.runner.doors import exchanged
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


class GroupedArrays:
    """What a recurrent layer finds in the place of its cache while groups decode together.

    Its state is read and written whole by every step: putting the groups' together costs as much once more.

    Args:
        layers: each group's cache of this layer.
        rows: how many rows it has.
        cuts: where each group but the first begins among the rows.
    """

    lengths = None
    """Rows that decode read one token each; only chunks that are padded say how much of them counts."""

    def __init__(self, layers: Sequence[kinds.ArraysCache], rows: Sequence[int], cuts: list[int]) -> None:
        self._layers = layers
        self._rows = rows
        self._cuts = cuts

    def __getitem__(self, index: int) -> mx.array | None:
        found = [layer.cache[index] for layer in self._layers]
        whole = next((each for each in found if each is not None), None)
        if whole is None:
            return None
        shape, dtype = whole.shape[1:], whole.dtype
        parts = zip(found, self._rows, strict=True)
        return mx.concatenate(
            [mx.zeros((rows, *shape), dtype) if each is None else each for each, rows in parts]
        )

    def __setitem__(self, index: int, value: mx.array) -> None:
        for layer, part in zip(self._layers, mx.split(value, self._cuts, axis=0), strict=True):
            layer.cache[index] = part

    def advance(self, count: int) -> None:
        """Every row has read so many tokens."""
        for layer in self._layers:
            layer.advance(count)

    def make_mask(self, count: int) -> mx.array | None:
        """(B, count) which tokens count; None where all do."""
        masks = [cast("mx.array | None", layer.make_mask(count)) for layer in self._layers]
        if all(mask is None for mask in masks):
            return None
        every = zip(masks, self._rows, strict=True)
        return mx.concatenate(
            [mx.ones((rows, count), mx.bool_) if each is None else each for each, rows in every]
        )


class GroupedNetwork(NetworkAround):
    """A network that takes groups; it stands below all that exchanges attention itself."""

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each; see `Network`."""
        if not isinstance(state[0], GroupedLayer | GroupedArrays):
            return super().logits(tokens, state, places)
        attend = _each_for_itself(cast("Attention", mx.fast.scaled_dot_product_attention))
        with exchanged(scaled_dot_product_attention=attend):
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
    return cast("RowState", [_grouped(layers, rows, cuts, offsets) for layers in zip(*states, strict=True)])


def _grouped(
    layers: Sequence[kinds.LayerCache], rows: Sequence[int], cuts: list[int], offsets: mx.array
) -> GroupedLayer | GroupedArrays:
    if kind_of(layers[0]) == RECURRENT:
        return GroupedArrays([cast("kinds.ArraysCache", layer) for layer in layers], rows, cuts)
    return GroupedLayer(layers, cuts, offsets)


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
