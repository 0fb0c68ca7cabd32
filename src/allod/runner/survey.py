"""Which products a model computes for a token: found by building the graph of one, not by names.

MLX computes nothing before it is asked to. So the whole model is called once before its weights are read,
which costs Python only, and whoever multiplies is noted with what came in. That tells the layers that take
part from those that do not (towers, tables that are only looked up), and the dtype of activations.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import mlx.core as mx

from allod.runner.measured import Kind, MeasuredKind
from allod.runner.network import Network
from mlx import nn

_DOORS = (
    (nn.Linear, "__call__"),
    (nn.QuantizedLinear, "__call__"),
    (nn.Embedding, "as_linear"),
    (nn.QuantizedEmbedding, "as_linear"),
)
"""The methods that multiply. Exactly these classes are replaced; a subclass has reasons of its own."""

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


def survey(network: Network, model: nn.Module) -> list[Group]:
    """The products of one token, those of the largest groups first.

    Args:
        network: calls the model as it will be called.
        model: the module whose layers may be replaced; nothing of it is evaluated by this.
    """
    noted: dict[int, mx.array] = {}

    def note(layer: nn.Module, inputs: mx.array) -> None:
        noted.setdefault(id(layer), inputs)

    with _noting(note):
        logits = network.logits(mx.array([[0]]), network.make_state())
    groups: dict[Kind, Group] = {}
    places: dict[int, list[str]] = {}
    for path, layer in model.named_modules():
        inputs = noted.get(id(layer))
        if inputs is None or type(layer) not in [kind for kind, _ in _DOORS] or inputs.dtype not in _NAMES:
            continue
        if id(layer) in places:
            places[id(layer)].append(path)
            continue
        places[id(layer)] = [path]
        kind = _kind_of(cast("Layer", layer), _NAMES[inputs.dtype], logits.shape[-1])
        groups.setdefault(kind, Group(kind)).layers.append((cast("Layer", layer), places[id(layer)]))
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


@contextmanager
def _noting(note: Callable[[nn.Module, mx.array], None]) -> Generator[None, None, None]:
    """Within the block, whatever multiplies tells what came in.

    Models find these methods by their classes, where they are exchanged for the time being: only this thread
    uses MLX, and only to build a graph.
    """
    originals = [(kind, name, getattr(kind, name)) for kind, name in _DOORS]
    for kind, name, original in originals:
        setattr(kind, name, _telling(original, note))
    try:
        yield
    finally:
        for kind, name, original in originals:
            setattr(kind, name, original)


def _telling(
    original: Callable[[nn.Module, mx.array], mx.array], note: Callable[[nn.Module, mx.array], None]
) -> Callable[[nn.Module, mx.array], mx.array]:
    def call(layer: nn.Module, x: mx.array) -> mx.array:
        note(layer, x)
        return original(layer, x)

    return call
