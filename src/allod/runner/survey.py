"""Which products a model computes for a token: found by building the graph of one, not by names.

MLX computes nothing before it is asked to. So the whole model is called once before its weights are read,
which costs Python only, and whoever multiplies is noted with what came in. That tells the layers that take
part from those that do not (towers, tables that are only looked up), and the dtype of activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import mlx.core as mx

from allod.runner.doors import DOORS, Doors, passing
from allod.runner.measured import Kind, MeasuredKind
from allod.runner.network import Network
from mlx import nn

Layer = nn.Linear | nn.QuantizedLinear | nn.Embedding | nn.QuantizedEmbedding


@dataclass(frozen=True, slots=True)
class Group:
    """The layers of a model whose products cost the same.

    Attributes:
        kind: what they have in common.
        layers: each with all its paths in the model.
    """

    kind: Kind
    layers: list[tuple[Layer, list[str]]] = field(default_factory=list[tuple[Layer, list[str]]])

    @property
    def dtype(self) -> mx.Dtype:
        """What unpacked weights are brought into."""
        return DTYPES[self.kind.dtype]

    @property
    def described(self) -> MeasuredKind:
        """The kind, not measured yet."""
        stored_bytes = sum(_weight_bytes(layer) for layer, _ in self.layers)
        each_bytes = self.kind.outputs * self.kind.inputs * self.dtype.size
        dense_bytes = len(self.layers) * each_bytes if self.kind.bits else stored_bytes
        return MeasuredKind(self.kind, len(self.layers), stored_bytes, dense_bytes)


DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Met:
    """A layer that multiplied.

    Attributes:
        layer: which.
        paths: all its places in the model.
        inputs: what came in.
    """

    layer: nn.Module
    paths: list[str]
    inputs: mx.array


def meet(network: Network, model: nn.Module, doors: Doors = DOORS) -> tuple[list[Met], int]:
    """The layers that multiply for a token, each once and in the order in which they do, and the vocabulary.

    Args:
        network: calls the model as it will be called.
        model: whose layers are meant; nothing of it is evaluated by this.
        doors: classes and the names of their methods, if others are meant than those that multiply.
    """
    paths: dict[int, list[str]] = {}
    for path, layer in model.named_modules():
        paths.setdefault(id(layer), []).append(path)
    found: list[Met] = []

    def note(layer: nn.Module, inputs: mx.array) -> mx.array:
        if known := paths.pop(id(layer), None):
            found.append(Met(layer, known, inputs))
        return inputs

    with passing(note, doors):
        logits = network.logits(mx.array([[0]]), network.make_state())
    return found, logits.shape[-1]


def survey(network: Network, model: nn.Module) -> list[Group]:
    """The products of one token, those of the largest groups first.

    Args:
        network: calls the model as it will be called.
        model: the module whose layers may be replaced; nothing of it is evaluated by this.
    """
    groups: dict[Kind, Group] = {}
    found, vocabulary = meet(network, model)
    for met in found:
        if type(met.layer) in [kind for kind, _ in DOORS] and met.inputs.dtype in _NAMES:
            layer = cast("Layer", met.layer)
            kind = _kind_of(layer, _NAMES[met.inputs.dtype], vocabulary)
            groups.setdefault(kind, Group(kind)).layers.append((layer, met.paths))
    return sorted(groups.values(), key=lambda group: -group.described.dense_bytes)


def _kind_of(layer: Layer, dtype: str, vocabulary: int) -> Kind:
    outputs, inputs = layer.weight.shape
    use = "head" if outputs == vocabulary else "block"
    if isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding):
        inputs = layer.scales.shape[-1] * layer.group_size
        return Kind(use, outputs, inputs, dtype, layer.bits, layer.group_size, layer.mode)
    return Kind(use, outputs, inputs, dtype)


def _weight_bytes(layer: Layer) -> int:
    parts: Sequence[mx.array | None] = (layer.weight, layer.get("scales"), layer.get("biases"))
    return sum(part.nbytes for part in parts if part is not None)
