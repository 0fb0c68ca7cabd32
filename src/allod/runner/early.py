"""A chunk's first layers are computed while the graph of the others is built.

MLX computes nothing before it is asked to, and a GPU would wait until Python has gone through all layers:
9 ms for 62 of them. Decode steps need none of this, since the device is busy with the step before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import mlx.core as mx

from allod.runner.doors import passing
from allod.runner.network import NetworkWithin
from mlx import nn

_PRODUCTS = 24
"""After so many products the device is given what there is, which costs some 50 us."""


class EarlyNetwork(NetworkWithin):
    """A network that hands chunks to the device piece by piece."""

    def within(self, rows: int, *, decodes: bool) -> AbstractContextManager[object]:
        """Products whose inputs are handed on; see `NetworkWithin`."""
        return nullcontext() if decodes else passing(_handing_on())


def _handing_on() -> Callable[[nn.Module, mx.array], mx.array]:
    """Lets the device begin with what comes into every so many products."""
    met = 0

    def hand_on(layer: nn.Module, inputs: mx.array) -> mx.array:
        nonlocal met
        met += 1
        if met % _PRODUCTS == 0:
            mx.async_eval(inputs)
        return inputs

    return hand_on
