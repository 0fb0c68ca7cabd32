"""Norms whose scale is computed once, when the model is loaded, and not for every token.

A Gemma keeps of a norm's scale how far it is from one, and its code adds the one in each call: six operations
a layer beside some thirty, of which each is launched as if it were a product.

Which norms these are is found by building the graph of a token, not by names, as in `survey`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from allod.runner.doors import exchanged
from allod.runner.network import Network
from allod.runner.survey import Met, meet
from mlx import nn

_CALL = "__call__"
_LAYER_AND_INPUT = 2


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of `mx.fast.rms_norm`: what came in, what with, and what came out."""

    inputs: mx.array
    scale: mx.array | None
    eps: float
    outputs: mx.array


def settle(network: Network, model: nn.Module) -> int:
    """Replace norms that compute their scale by norms that have it, in place.

    What they say is the same to the last bit: the scale is computed as it was, and kept.

    Args:
        network: calls the model as it will be called.
        model: the module whose layers may be replaced; of it only the scales of norms are evaluated.

    Returns:
        How many norms were replaced.
    """
    kinds = dict.fromkeys(type(layer) for _, layer in model.named_modules() if _may_compute(layer))
    if not kinds:
        return 0
    found, _ = meet(network, model, [(kind, _CALL) for kind in kinds])
    settled = [(path, norm) for met in found if (norm := _settled(met)) for path in met.paths]
    model.update_modules(tree_unflatten(settled))
    return len({id(norm) for _, norm in settled})


def _may_compute(layer: nn.Module) -> bool:
    """Whether it maps one array by one scale, and is not known to take that as it is."""
    if type(layer) is nn.RMSNorm or not _maps_one(type(layer)):
        return False
    return [(name, array.ndim) for name, array in tree_flatten(layer.parameters())] == [("weight", 1)]


@cache
def _maps_one(kind: type[nn.Module]) -> bool:
    return len(inspect.signature(kind.__call__).parameters) == _LAYER_AND_INPUT


def _settled(met: Met) -> nn.RMSNorm | None:
    """A norm that does as the layer does; None where the layer takes its scale as it is, or does more."""
    first, second = (_only_call(met.layer, like(met.inputs)) for like in (mx.zeros_like, mx.ones_like))
    if first is None or second is None or first.scale is None or second.scale is None:
        return None
    if first.scale is met.layer["weight"] or not mx.array_equal(first.scale, second.scale):
        return None
    norm = nn.RMSNorm(first.scale.size, first.eps)
    norm.weight = first.scale
    return norm


def _only_call(layer: nn.Module, inputs: mx.array) -> _Call | None:
    """The call that is all that a layer does with these inputs; None where it does anything else."""
    whole = mx.fast.rms_norm
    calls: list[_Call] = []

    def note(x: mx.array, weight: mx.array | None, eps: float) -> mx.array:
        calls.append(_Call(x, weight, eps, whole(x, weight, eps)))
        return calls[-1].outputs

    with exchanged(rms_norm=note):
        outputs = layer(inputs)
    is_all = len(calls) == 1 and calls[0].inputs is inputs and calls[0].outputs is outputs
    return calls[0] if is_all else None
