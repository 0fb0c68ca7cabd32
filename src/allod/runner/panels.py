"""Weights that lie in panels, which a Linux CPU multiplies by code of our own (`allod.device.panels`).

A weight (N, K) lies in panels as an array of that shape whose numbers stand as (N / 32, K, 32). MLX knows
nothing of that: a product says so by its alpha, and only the library that stands in front of the BLAS
understands.
"""

from __future__ import annotations

from functools import cache

import mlx.core as mx
import numpy as np

PANEL_OUTPUTS = 32

_MARK = float(np.nextafter(np.float32(1), np.float32(2)))
_TRIED_ROWS, _TRIED_INPUTS = 5, 48
_TOLERANCE = 1e-3


def can_hold(outputs: int, dtype: mx.Dtype) -> bool:
    """Whether weights with so many outputs can lie so, and be multiplied."""
    return outputs % PANEL_OUTPUTS == 0 and dtype == mx.float32 and are_understood()


@cache
def are_understood() -> bool:
    """Whether products of weights in panels are computed in this process, on the device MLX computes on."""
    if mx.default_device().type != mx.cpu:
        return False
    weight = mx.random.normal((2 * PANEL_OUTPUTS, _TRIED_INPUTS))
    inputs = mx.random.normal((_TRIED_ROWS, _TRIED_INPUTS))
    error = multiply(inputs, in_panels(weight)) - inputs @ weight.T
    return mx.max(mx.abs(error)).item() < _TOLERANCE


def in_panels(weight: mx.array) -> mx.array:
    """The numbers of a weight (N, K) in the order of panels; the shape stays."""
    outputs, inputs = weight.shape
    panels = weight.reshape(outputs // PANEL_OUTPUTS, PANEL_OUTPUTS, inputs)
    return mx.contiguous(panels.swapaxes(1, 2)).reshape(outputs, inputs)


def in_rows(weight: mx.array) -> mx.array:
    """The inverse of `in_panels`."""
    return _panels_of(weight).swapaxes(1, 2).reshape(*weight.shape)


def multiply(inputs: mx.array, weight: mx.array) -> mx.array:
    """Compute `inputs @ weight.T`.

    Args:
        inputs: (..., K).
        weight: (N, K) in panels.

    Returns:
        (..., N).
    """
    nothing = mx.zeros((), dtype=inputs.dtype)
    return mx.addmm(nothing, inputs, weight.T, alpha=_MARK, beta=0.0)


def rows_of(weight: mx.array, rows: mx.array) -> mx.array:
    """Rows of a weight (N, K) in panels, of these indices: (...) to (..., K)."""
    return _panels_of(weight)[rows // PANEL_OUTPUTS, :, rows % PANEL_OUTPUTS]


def _panels_of(weight: mx.array) -> mx.array:
    """(N, K) in panels to (N / 32, K, 32)."""
    outputs, inputs = weight.shape
    return weight.reshape(outputs // PANEL_OUTPUTS, inputs, PANEL_OUTPUTS)
