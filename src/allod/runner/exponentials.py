"""Exponentials on the CPU, and what models make of them: attention's weights, and gates.

MLX calls the C library for each number there, which takes some 20 ns: two thirds of attention, and of what a
gate costs nearly all. Written as sums and products, which compilers compute several of at once, they take a
tenth. On a GPU that is not so, and MLX's own are left alone.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import cast

import mlx.core as mx

from allod.runner.attention import Attention, rows_of
from allod.runner.doors import exchanged
from allod.runner.network import Network, NetworkWithin

_SQUARINGS = 4
_DEGREE = 5
_LEAST = -36.0
"""Here the polynomial is nearly zero; below it would grow again."""

_FACTORS = [1 / (math.factorial(degree) * 2 ** (_SQUARINGS * degree)) for degree in range(_DEGREE + 1)]

_STRIP_SCORES = 2**18
"""So many of a chunk's scores are computed at a time: they stay in a core's cache, and take little memory."""


def _exp_of_negative(x: mx.array) -> mx.array:
    x = mx.maximum(x, _LEAST)
    power = _FACTORS[_DEGREE] * x + _FACTORS[_DEGREE - 1]
    for factor in reversed(_FACTORS[: _DEGREE - 1]):
        power = power * x + factor
    for _ in range(_SQUARINGS):
        power = mx.square(power)
    return power


exp_of_negative = mx.compile(_exp_of_negative, shapeless=True)
"""e**x of float32 that is not above zero, but for 4e-7 of e**0; nothing (1e-20) below -36.

The Taylor polynomial of x/16, squared four times. Of longer ones MLX would make more loops than three."""


def _sigmoid(x: mx.array) -> mx.array:
    small = exp_of_negative(-mx.abs(x))
    return mx.where(x < 0, small, 1.0) / (1.0 + small)


def _tanh(x: mx.array) -> mx.array:
    small = exp_of_negative(-2.0 * mx.abs(x))
    return mx.sign(x) * (1.0 - small) / (1.0 + small)


class Gates:
    """What stands for MLX's functions, which it takes where numbers are no float32."""

    def __init__(self) -> None:
        self._sigmoid, self._tanh = mx.sigmoid, mx.tanh

    def sigmoid(self, a: mx.array, /, **more: object) -> mx.array:
        """1 / (1 + e**-a)."""
        return _sigmoid(a) if a.dtype == mx.float32 and not more else self._sigmoid(a, **more)

    def tanh(self, a: mx.array, /, **more: object) -> mx.array:
        """The hyperbolic tangent."""
        return _tanh(a) if a.dtype == mx.float32 and not more else self._tanh(a, **more)


def exchange_gates() -> None:
    """Let models of this process find these where they look for MLX's. To do so again changes nothing.

    It comes before anything is computed: what MLX has compiled keeps what it found then.
    """
    if getattr(mx.sigmoid, "__func__", None) is not Gates.sigmoid:
        gates = Gates()
        mx.sigmoid, mx.tanh = gates.sigmoid, gates.tanh


class FoldedAttention:
    """`mx.fast.scaled_dot_product_attention` in float32.

    Query heads of one key head are rows of one product: MLX makes one of each, and reads the keys as often.
    What is mixed is divided by the sum of its weights, which is shorter than the weights are. A chunk is
    computed a few rows at a time, which attend to nothing behind them: the half that a causal mask hides is
    not computed.

    Args:
        other: takes what this does not: other types and options.
    """

    def __init__(self, other: Attention) -> None:
        self._other = other

    def __call__(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        *,
        scale: float,
        mask: mx.array | str | None = None,
        **more: object,
    ) -> mx.array:
        """Mix the values, (B, H, N, D); see `Attention`."""
        rows, heads, count, _ = q.shape
        keys = k.shape[2]
        is_other = any(value is not None for value in more.values())
        if q.dtype != mx.float32 or is_other or heads % k.shape[1] or not keys:
            return self._other(q, k, v, scale=scale, mask=mask, **more)
        step = max(1, _STRIP_SCORES // (rows * heads * keys))
        parts: list[mx.array] = []
        for start in range(0, count, step):
            end = min(start + step, count)
            seen = keys - count + end if isinstance(mask, str) else keys
            cut = mask if isinstance(mask, str) else rows_of(mask, start, end, count)
            parts.append(_mixed(scale * q[:, :, start:end], k[:, :, :seen], v[:, :, :seen], cut))
        return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=2)


def _mixed(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | str | None) -> mx.array:
    rows, heads, count, width = q.shape
    shared = heads // k.shape[1]
    scores = q.reshape(rows, k.shape[1], shared * count, width) @ k.swapaxes(-1, -2)
    if mask is not None:
        apart = scores.reshape(rows, k.shape[1], shared, count, k.shape[2])
        scores = _behind(mask, apart).reshape(*scores.shape)
    weights = exp_of_negative(scores - mx.max(scores, axis=-1, keepdims=True))
    mixed = (weights @ v) / mx.sum(weights, axis=-1, keepdims=True)
    return mixed.reshape(rows, heads, count, v.shape[-1])


def _behind(mask: mx.array | str, scores: mx.array) -> mx.array:
    """Scores, (B, H', H/H', N, M), of what a mask lets through; one in numbers is added."""
    *_, count, keys = scores.shape
    if isinstance(mask, str):
        mask = mx.arange(keys - count, keys)[:, None] >= mx.arange(keys)
    elif mask.ndim > 2:
        *outer, heads = (1, *mask.shape[:-2])[-2:]
        mask = mask.reshape(*outer, *(scores.shape[1:3] if heads > 1 else (1, 1)), *mask.shape[-2:])
    return mx.where(mask, scores, mx.finfo(mx.float32).min) if mask.dtype == mx.bool_ else scores + mask


class FoldedNetwork(NetworkWithin):
    """A network that attends so; it stands around all that exchanges attention itself."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._attention = FoldedAttention(cast("Attention", mx.fast.scaled_dot_product_attention))

    def within(self, rows: int, *, decodes: bool) -> AbstractContextManager[object]:
        """Attention; see `NetworkWithin`."""
        return exchanged(scaled_dot_product_attention=self._attention)
