"""MLX's tanh form of GELU without a power.

`x**3` is a power like any other to MLX: on the CPU a call of the C library for each number, five times what
the rest takes, and everywhere a loop or a kernel of its own, since it is not compiled into that of the rest.
"""

from __future__ import annotations

import math
import sys

import mlx.core as mx

from mlx import nn

_HOMES = (nn, sys.modules["mlx.nn.layers.activations"])
"""Where models find it by name, and where the layer `GELU` does."""

_FACTOR = math.sqrt(2 / math.pi)


def _gelu_approx(x: mx.array) -> mx.array:
    return 0.5 * x * (1 + mx.tanh(_FACTOR * (x + 0.044715 * (x * x * x))))


gelu_approx = mx.compile(_gelu_approx, shapeless=True)
"""`x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))`: Hendrycks and Gimpel (2016), section 2."""


def exchange_activations() -> None:
    """Let models of this process find it where they look for MLX's. To do so again changes nothing."""
    for home in _HOMES:
        vars(home)["gelu_approx"] = gelu_approx
