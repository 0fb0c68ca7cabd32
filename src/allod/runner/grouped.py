"""Tokens of unlike texts in one pass: rows of other lengths, and chunks of prompts beside rows.

Everything in a model but attention is done for each token by itself, so that all tokens share its products,
as if each were a row of one token. Where a layer turns to its cache, it finds one that gives each group its
tokens, and MLX's attention is exchanged for one that lets each group attend to its own. So a long row does
not make short ones as long, and what reads a prompt reads the weights for the rows as well.
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
class Span:
    """What a group has of the tokens of a pass: one for each of its rows, or several of its only row.

    Attributes:
        rows: how many its state is of.
        tokens: how many of each.
    """

    rows: int
    tokens: int = 1


class Spans:
    """The tokens of a pass, (N, ...), as the groups have them one after the other.

    Args:
        each: of every group.
    """

    def __init__(self, each: Sequence[Span]) -> None:
        self.each = each
        self.cuts = list(accumulate(span.rows * span.tokens for span in each))[:-1]

    def cut(self, whole: mx.array) -> list[mx.array]:
        """What each group has, (B, H, T, D), of (N, H, 1, D)."""
        return self._turned(mx.split(whole, self.cuts, axis=0))

    def join(self, parts: Sequence[mx.array]) -> mx.array:
        """The inverse of `cut`."""
        return mx.concatenate(self._turned(parts))

    def _turned(self, parts: Sequence[mx.array]) -> list[mx.array]:
        """(T, H, 1, D) of a chunk's tokens <-> (1, H, T, D); rows of one token stay as they are."""
        return [
            part if span.tokens == 1 else part.swapaxes(0, 2)
            for part, span in zip(parts, self.each, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Pieces:
    """What stands for keys or values that are others for each group.

    Attributes:
        each: for every group its own, (B, H, T, D).
        spans: which tokens each group has.
    """

    each: Sequence[mx.array]
    spans: Spans


@dataclass(frozen=True, slots=True)
class Masks:
    """What stands for a mask: for every group its own, which may be none."""

    each: Sequence[mx.array | str | None]


class GroupedLayer:
    """What one layer finds in the place of its cache while groups share a pass.

    Args:
        layers: each group's cache of this layer.
        spans: which tokens each group has.
        offsets: (N,) the position of each token.
    """

    def __init__(self, layers: Sequence[kinds.LayerCache], spans: Spans, offsets: mx.array) -> None:
        self._layers = list(layers)
        self._spans = spans
        self._offsets = offsets

    @property
    def offset(self) -> mx.array:
        """(N,) positions of the tokens."""
        return self._offsets

    def make_mask(
        self, count: int, return_array: bool = False, window_size: int | None = None
    ) -> Masks | None:
        """Which keys each group's tokens attend to."""
        masks = [
            layer.make_mask(count * span.tokens, return_array=return_array, window_size=window_size)
            for layer, span in zip(self._layers, self._spans.each, strict=True)
        ]
        return Masks(masks) if any(mask is not None for mask in masks) else None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Pieces, Pieces]:
        """Take in every token; what each group attends to."""
        parts = zip(self._layers, self._spans.cut(keys), self._spans.cut(values), strict=True)
        held = [layer.update_and_fetch(own_keys, own_values) for layer, own_keys, own_values in parts]
        held_keys, held_values = zip(*held, strict=True)
        return Pieces(held_keys, self._spans), Pieces(held_values, self._spans)


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


def gather(states: Sequence[RowState], spans: Sequence[Span], positions: Sequence[int]) -> RowState:
    """What stands for the states of several groups while they share a pass.

    Args:
        states: of each group.
        spans: which tokens it has; recurrent layers want one of each row.
        positions: of each token, in the order of the groups.
    """
    whole, offsets = Spans(spans), mx.array(positions, dtype=mx.int32)
    return cast("RowState", [_grouped(layers, whole, offsets) for layers in zip(*states, strict=True)])


def _grouped(
    layers: Sequence[kinds.LayerCache], spans: Spans, offsets: mx.array
) -> GroupedLayer | GroupedArrays:
    if kind_of(layers[0]) == RECURRENT:
        rows = [span.rows for span in spans.each]
        return GroupedArrays([cast("kinds.ArraysCache", layer) for layer in layers], rows, spans.cuts)
    return GroupedLayer(layers, spans, offsets)


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
        parts = zip(k.spans.cut(q), k.each, v.each, masks, strict=True)
        mixed = [
            whole(own, keys, values, scale=scale, mask=seen, **more) for own, keys, values, seen in parts
        ]
        return k.spans.join(mixed)

    return cast("Attention", attend)
