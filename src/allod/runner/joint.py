"""Products of one input, computed as one: queries, keys and values; a gate and what it lets through.

Models multiply the same activations by three weights, or by two, one after another. Weights that stand upon
one another are one product: fewer and longer ones to launch, and launching is what a step waits for on a fast
device. A model's code is left as it is: each layer of a group takes its part of what the first computes.

Which layers these are is found by building the graph of a token, not by names, as in `survey`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate
from typing import cast

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from allod.runner.network import Network
from allod.runner.product import Product
from allod.runner.survey import meet
from mlx import nn

log = logging.getLogger(__name__)

_JOINABLE = (nn.Linear, nn.QuantizedLinear)


class JointParts:
    """The parts of one product.

    What was computed is let go when all have taken their parts: a chunk's activations in every layer would be
    as large as a state.

    Args:
        whole: computes all of them, (..., K) to (..., N).
        ends: where each part ends in N.
    """

    def __init__(self, whole: First, ends: Sequence[int]) -> None:
        self._whole = whole
        self._cuts = list(ends[:-1])
        self._inputs: mx.array | None = None
        self._left: dict[int, mx.array] = {}

    @property
    def holds_nothing(self) -> bool:
        """Whether all took their parts of what was computed last."""
        return self._inputs is None

    def take(self, place: int, x: mx.array) -> mx.array:
        """One part of the product of x."""
        if self._inputs is not x or place not in self._left:
            self._inputs = x
            whole = self._whole.whole
            parts = (
                whole.parts(x, self._cuts)
                if isinstance(whole, Product)
                else mx.split(whole(x), self._cuts, axis=-1)
            )
            self._left = dict(enumerate(parts))
        part = self._left.pop(place)
        if not self._left:
            self._inputs = None
        return part


class Part(nn.Linear):
    """A linear layer whose product is a part of another's, and who has no weights.

    Args:
        parts: of which product.
        place: which part.
    """

    def __init__(self, parts: JointParts, place: int) -> None:
        nn.Module.__init__(self)
        self._parts = parts
        self._place = place

    def __call__(self, x: mx.array) -> mx.array:
        """Map (..., K) to (..., N)."""
        return self._parts.take(self._place, x)


class First(Part):
    """The first of these layers, which has the weights of all.

    Args:
        whole: the layer that multiplies.
        ends: where each part ends in its outputs.
    """

    def __init__(self, whole: nn.Module, ends: Sequence[int]) -> None:
        super().__init__(JointParts(self, ends), 0)
        self.whole = whole

    @property
    def parts(self) -> JointParts:
        """What the others take theirs from."""
        return self._parts


def join(network: Network, model: nn.Module) -> int:
    """Let layers that multiply the same input do so as one, in place.

    Args:
        network: calls the model as it will be called.
        model: the module whose layers may be replaced; not evaluated yet. Weights of layers that are
            joined are, one group after another, so that no more than one is there twice.

    Returns:
        How many layers became a part of another's product; none where the model's code looks into them.
    """
    groups = _groups(network, model)
    firsts = [_replaced(model, group) for group in groups]
    try:
        network.logits(mx.array([[0]]), network.make_state())
    except (AttributeError, KeyError, TypeError) as error:
        log.info("products stay apart: %s", error)
        for group in groups:
            _put(model, group.paths, group.layers)
        return 0
    for group, first in zip(groups, firsts, strict=True):
        group.layers.clear()
        mx.eval(first.parameters())
    return sum(len(group.paths) - 1 for group in groups)


@dataclass(frozen=True, slots=True)
class _Group:
    """Layers of one parent that multiply the same array, in the order in which they do."""

    paths: list[str] = field(default_factory=list[str])
    layers: list[nn.Linear] = field(default_factory=list["nn.Linear"])


def _replaced(model: nn.Module, group: _Group) -> First:
    ends = list(accumulate(layer.weight.shape[0] for layer in group.layers))
    first = First(_stacked(group.layers), ends)
    _put(model, group.paths, [first, *(Part(first.parts, place) for place in range(1, len(ends)))])
    return first


def _put(model: nn.Module, paths: Sequence[str], layers: Sequence[nn.Module]) -> None:
    model.update_modules(tree_unflatten(list(zip(paths, layers, strict=True))))


def _groups(network: Network, model: nn.Module) -> list[_Group]:
    """What can be joined."""
    found, _ = meet(network, model)  # which holds what came in, so that no other array gets its identity
    groups: dict[tuple[object, ...], _Group] = {}
    for met in found:
        if type(met.layer) in _JOINABLE and len(met.paths) == 1:
            linear, (path,) = cast("nn.Linear", met.layer), met.paths
            key = (id(met.inputs), path.rpartition(".")[0], *_form(linear))
            group = groups.setdefault(key, _Group())
            group.paths.append(path)
            group.layers.append(linear)
    return [group for group in groups.values() if len(group.layers) > 1]


def _form(layer: nn.Linear) -> tuple[object, ...]:
    """What layers must have in common for their weights to be those of one layer."""
    parts = tuple((name, array.dtype, array.shape[1:]) for name, array in _arrays(layer).items())
    packing = (layer.bits, layer.group_size, layer.mode) if isinstance(layer, nn.QuantizedLinear) else ()
    return (type(layer), parts, packing)


def _stacked(layers: Sequence[nn.Linear]) -> nn.Linear:
    """A layer with the outputs of all; each of their arrays has a row for every output."""
    whole = copy(layers[0])
    arrays = [_arrays(layer) for layer in layers]
    for name in arrays[0]:
        setattr(whole, name, mx.concatenate([each[name] for each in arrays]))
    return whole


def _arrays(layer: nn.Linear) -> dict[str, mx.array]:
    return dict(tree_flatten(layer.parameters()))
