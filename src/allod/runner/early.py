"""A chunk's first layers are computed while the graph of the others is built.

MLX computes nothing before it is asked to, and a GPU would wait until Python has gone through all layers:
9 ms for 62 of them. Decode steps need none of this, since the device is busy with the step before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import mlx.core as mx

from allod.core.ids import TokenId
from allod.core.pictures import Digest
from allod.core.step import Shown
from allod.runner.caches import RowState
from allod.runner.doors import DOORS, passing
from allod.runner.features import Features
from allod.runner.network import NetworkAround, Reading
from mlx import nn

_PRODUCTS = 24
"""After so many products the device is given what there is, which costs some 50 us."""


class EarlyNetwork(NetworkAround):
    """A network that hands chunks to the device piece by piece."""

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each; see `Network`."""
        if tokens.shape[1] == 1:
            return super().logits(tokens, state, places)
        with passing(_handing_on(), DOORS):
            return super().logits(tokens, state, places)

    def read(
        self,
        tokens: Sequence[TokenId],
        reading: Reading,
        shown: Sequence[Shown],
        gallery: Mapping[Digest, Features],
    ) -> None:
        """Read a chunk of a prompt; see `Network`."""
        with passing(_handing_on(), DOORS):
            super().read(tokens, reading, shown, gallery)


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
