"""What a model calls, exchanged while a graph is built: functions of MLX, and the methods that multiply."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import mlx.core as mx

from mlx import nn

Doors = Sequence[tuple[type[nn.Module], str]]

DOORS: Doors = (
    (nn.Linear, "__call__"),
    (nn.QuantizedLinear, "__call__"),
    (nn.Embedding, "as_linear"),
    (nn.QuantizedEmbedding, "as_linear"),
)
"""The methods that multiply. Exactly these classes are replaced; a subclass has reasons of its own."""

Through = Callable[[nn.Module, mx.array], mx.array]


@contextmanager
def exchanged(**functions: Callable[..., mx.array]) -> Generator[None, None, None]:
    """Within the block, whatever calls these functions of `mx.fast` calls others.

    Models call them by their names in that module, where they are exchanged for the time being: only this
    thread uses MLX, and only to build a graph.
    """
    before = {name: getattr(mx.fast, name) for name in functions}
    vars(mx.fast).update(functions)
    try:
        yield
    finally:
        vars(mx.fast).update(before)


@contextmanager
def passing(through: Through, doors: Doors = DOORS) -> Generator[None, None, None]:
    """Within the block, whatever comes into a product goes through a function first.

    Models find these methods by their classes, where they are exchanged for the time being: only this thread
    uses MLX, and only to build a graph.

    Args:
        through: given the layer and its input; returns what comes in instead.
        doors: classes and the names of their methods.
    """
    originals = [(kind, name, getattr(kind, name)) for kind, name in doors]
    for kind, name, original in originals:
        setattr(kind, name, _led(original, through))
    try:
        yield
    finally:
        for kind, name, original in originals:
            setattr(kind, name, original)


def _led(original: Callable[[nn.Module, mx.array], mx.array], through: Through) -> Through:
    def call(layer: nn.Module, x: mx.array) -> mx.array:
        return original(layer, through(layer, x))

    return call
