"""Norms and rotations on the CPU, which MLX composes there of a dozen and of some twenty operations.

With one row an operation takes some microseconds whatever it computes, half of them in the thread that builds
the next step: of 4,100 operations in a step of the starter model these two were 2,000. A norm is three here,
and how far to rotate is computed once for all layers of a step. On a GPU each is one kernel, and left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx

from allod.runner.doors import exchanged
from allod.runner.network import NetworkWithin

_ROWS_NDIM = 4
"""Rows that each have a position are (B, H, T, D)."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How vectors are rotated; see `mx.fast.rope`.

    Attributes:
        count: tokens.
        dims: of a vector, the first that are rotated.
        traditional: pairs are neighbours; else they lie half of `dims` apart.
        base: of the frequencies; None where they are given.
        scale: of the positions.
    """

    count: int
    dims: int
    traditional: bool
    base: float | None
    scale: float

    def pair(self, first: mx.array, second: mx.array) -> mx.array:
        """Put the first and the second of each pair, (..., dims / 2), where they lie in a vector."""
        if self.traditional:
            return mx.stack([first, second], axis=-1).reshape(*first.shape[:-1], self.dims)
        return mx.concatenate([first, second], axis=-1)

    def swap(self, a: mx.array) -> mx.array:
        """The other of each pair, in its place: (..., dims)."""
        if self.traditional:
            return a.reshape(*a.shape[:-1], -1, 2)[..., ::-1].reshape(*a.shape)
        half = self.dims // 2
        return mx.concatenate([a[..., half:], a[..., :half]], axis=-1)


class Rotations:
    """`mx.fast.rope` in float32, for as long as a graph is built; MLX's own takes other types."""

    def __init__(self) -> None:
        self._rope = mx.fast.rope
        self._known: dict[object, _Turns] = {}

    def rope(self, a: mx.array, dims: int, **named: Any) -> mx.array:
        """Rotate pairs of the last dimension of (B, ..., T, D) by their positions; see `mx.fast.rope`."""
        offset, freqs = named["offset"], named.get("freqs")
        is_by_rows = isinstance(offset, mx.array) and offset.ndim > 0
        if a.dtype != mx.float32 or "stream" in named or (is_by_rows and a.ndim != _ROWS_NDIM):
            return self._rope(a, dims, **named)
        rotation = Rotation(a.shape[-2], dims, named["traditional"], named["base"], named["scale"])
        turns = self._turns(rotation, offset, freqs)
        turned = a[..., :dims] if dims < a.shape[-1] else a
        turned = _turned(turned, rotation.swap(turned), turns.cosines, turns.sines)
        return mx.concatenate([turned, a[..., dims:]], axis=-1) if dims < a.shape[-1] else turned

    def _turns(self, rotation: Rotation, offset: int | mx.array, frequencies: mx.array | None) -> _Turns:
        at = ("array", id(offset)) if isinstance(offset, mx.array) else offset
        key = (rotation, at, id(frequencies))
        if key not in self._known:
            self._known[key] = _Turns.of(rotation, offset, frequencies)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class _Turns:
    """By how much vectors are rotated.

    Attributes:
        cosines: (T, dims), or (B, 1, T, dims).
        sines: the same, negative for the first of each pair.
        of_what: what they were computed from, whose identity stands for it as long as it lives.
    """

    cosines: mx.array
    sines: mx.array
    of_what: tuple[object, ...]

    @classmethod
    def of(cls, rotation: Rotation, offset: int | mx.array, frequencies: mx.array | None) -> _Turns:
        """Compute them."""
        begins = offset
        if isinstance(offset, mx.array) and offset.ndim > 0:
            begins = offset.reshape(-1, 1, 1)
        positions = rotation.scale * (mx.arange(rotation.count, dtype=mx.float32) + begins)
        angles = positions[..., None] * _inverse(rotation, frequencies)
        cosines, sines = mx.cos(angles), mx.sin(angles)
        pair = rotation.pair
        return cls(pair(cosines, cosines), pair(-sines, sines), (offset, frequencies))


def _inverse(rotation: Rotation, frequencies: mx.array | None) -> mx.array:
    if frequencies is not None:
        return 1.0 / frequencies
    half = rotation.dims // 2
    return mx.exp(mx.arange(half, dtype=mx.float32) * (-math.log(rotation.base or 1.0) / half))


def _sum_of_both(a: mx.array, swapped: mx.array, cosines: mx.array, sines: mx.array) -> mx.array:
    return a * cosines + swapped * sines


_turned = mx.compile(_sum_of_both, shapeless=True)


@cache
def _normed(width: int, eps: float) -> Callable[..., mx.array]:
    """Of numbers and the sum of their squares, and of a weight if there is one."""

    def normed(*given: mx.array) -> mx.array:
        a, squares, *weight = given
        normal = a * mx.rsqrt(squares * (1 / width) + eps)
        return normal * weight[0] if weight else normal

    return mx.compile(normed, shapeless=True)


class Norms:
    """`mx.fast.rms_norm` in float32; MLX's own takes other types."""

    def __init__(self) -> None:
        self._rms_norm = mx.fast.rms_norm

    def rms_norm(self, a: mx.array, weight: mx.array | None, eps: float, **more: object) -> mx.array:
        """Divide by the root of the mean square of the last axis, and multiply by the weight."""
        if a.dtype != mx.float32 or (weight is not None and weight.dtype != mx.float32) or more:
            return self._rms_norm(a, weight, eps, **more)
        squares = mx.sum(mx.square(a), axis=-1, keepdims=True)
        weights = () if weight is None else (weight,)
        return _normed(a.shape[-1], eps)(a, squares, *weights)


class ComposedNetwork(NetworkWithin):
    """A network whose layers norm with few operations, and share how far to rotate."""

    def within(self, rows: int, *, decodes: bool) -> AbstractContextManager[object]:
        """Norms and rotations; see `NetworkWithin`."""
        return exchanged(rope=Rotations().rope, rms_norm=Norms().rms_norm)
