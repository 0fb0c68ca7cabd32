"""Layers whose product is computed the way that was measured to be fastest for as many rows as come in.

BLAS libraries and GPU kernels are not equally good at all shapes: with few rows it can be faster to multiply
the weights by the rows than the rows by the weights, or to add rows of zeros. The number of rows is known
when the graph is built, so choosing costs nothing at run time. Nor are they equally good at all layouts: a
library that brings the weights into an order of its own for every product does so faster if they lie column
by column, and with one row that is most of the work; of small products it spares that. Code of our own spares
it always, for weights that lie in panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import cast

import mlx.core as mx

from allod.runner import panels
from allod.runner.choice import Ways, lies_by_columns, lies_in_panels
from allod.runner.measured import (
    COLUMNS,
    PAD_ROWS,
    PANELS,
    PIECE_MULTIPLICATIONS,
    PIECES,
    ROWS_FIRST,
    WEIGHTS_FIRST,
    Way,
)
from mlx import nn

_PLAIN = (ROWS_FIRST, COLUMNS)
_APART = (ROWS_FIRST, PIECES)


def by_columns(weight: mx.array) -> mx.array:
    """The same array, (N, K), but that its columns and not its rows are in one piece in memory."""
    return mx.contiguous(weight.T).T


def multiply(inputs: mx.array, weight: mx.array, way: Way) -> mx.array:
    """Compute `inputs @ weight.T`.

    Args:
        inputs: (..., K).
        weight: (N, K), lying as the way wants it.
        way: how; not `stored`.

    Returns:
        (..., N), contiguous as that of a plain product is: what comes after must not pay for the way.
    """
    if way in _PLAIN:
        return inputs @ weight.T
    if way == PANELS:
        return panels.multiply(inputs, weight)
    *outer, columns = inputs.shape
    rows = inputs.size // columns
    if way == WEIGHTS_FIRST and rows == 1:
        product = weight @ inputs.reshape(columns, 1)
    elif way == WEIGHTS_FIRST:
        product = mx.contiguous((weight @ inputs.reshape(rows, columns).T).T)
    elif way == PIECES:
        product = multiply_apart(inputs, weight, way, 1)
    else:
        padding = [(0, -rows % PAD_ROWS), (0, 0)]
        product = (mx.pad(inputs.reshape(rows, columns), padding) @ weight.T)[:rows]
    return product.reshape(*outer, weight.shape[0])


def multiply_apart(inputs: mx.array, weight: mx.array, way: Way, parts: int) -> mx.array:
    """Compute `inputs @ weight.T` in equal parts, each of which is contiguous.

    Args:
        inputs: (..., K).
        weight: (N, K), row by row.
        way: rows first, or in pieces.
        parts: P, how many; it divides N.

    Returns:
        (P, ..., N / P).
    """
    *outer, columns = inputs.shape
    rows, outputs = inputs.size // columns, weight.shape[0] // parts
    length = outputs_of_piece(rows, outputs, columns) if way == PIECES else outputs
    pieces = weight.reshape(-1, length, columns).swapaxes(1, 2)
    product = (inputs.reshape(1, rows, columns) @ pieces).reshape(parts, -1, rows, length)
    return product.swapaxes(1, 2).reshape(parts, *outer, outputs)


@cache
def outputs_of_piece(rows: int, outputs: int, inputs: int) -> int:
    """Rows of a weight (outputs, inputs) in each of its pieces: as many as are few enough, and divide it."""
    most = min(max(1, PIECE_MULTIPLICATIONS // (rows * inputs)), outputs)
    return next(count for count in range(most, 0, -1) if outputs % count == 0)


def way_for(ways: Ways, rows: int) -> Way:
    """The way for so many rows."""
    for most_rows, way in ways:
        if rows <= most_rows:
            return way
    return ROWS_FIRST


class _Laid:
    """A layer whose weight lies as it is multiplied best."""

    outputs: int
    panels: mx.array
    weight: mx.array
    _ways: Ways

    def _lay(self, weight: mx.array, ways: Ways) -> None:
        self.outputs, self._ways = weight.shape[0], ways
        if lies_in_panels(ways):
            self.panels = panels.in_panels(weight)
        else:
            self.weight = by_columns(weight) if lies_by_columns(ways) else weight

    def __getattr__(self, key: str) -> object:
        """A weight that lies in panels as it was, for a model whose code looks into it."""
        module = cast("nn.Module", self)
        if key == "weight" and "panels" in module:
            return panels.in_rows(self.panels)
        return nn.Module.__getattr__(module, key)

    def _way_for(self, x: mx.array) -> Way:
        return way_for(self._ways, x.size // x.shape[-1])

    def _multiply(self, x: mx.array, way: Way) -> mx.array:
        return multiply(x, self.panels if way == PANELS else self.weight, way)


def outputs_of(layer: nn.Module) -> int:
    """Rows of the weight of a layer that multiplies."""
    return layer.outputs if isinstance(layer, _Laid) else cast("nn.Linear", layer).weight.shape[0]


class Product(_Laid, nn.Linear):
    """A linear layer that knows its ways.

    Args:
        weight: (N, K).
        bias: (N,), or None.
        ways: how to multiply, by rows.
    """

    def __init__(self, weight: mx.array, bias: mx.array | None, ways: Ways) -> None:
        nn.Module.__init__(self)
        self._lay(weight, ways)
        if bias is not None:
            self.bias = bias

    def __call__(self, x: mx.array) -> mx.array:
        """Map (..., K) to (..., N)."""
        way = self._way_for(x)
        if way in _PLAIN:
            return nn.Linear.__call__(self, x)
        product = self._multiply(x, way)
        return product + self.bias if "bias" in self else product

    def parts(self, x: mx.array, cuts: Sequence[int]) -> Sequence[mx.array]:
        """Map (..., K) to the parts of (..., N) between these places.

        Equal ones are computed apart for a BLAS: a gate and what it lets through are then gone through as
        they lie, four numbers at a time. Beside each other in memory they take three times as long, which is
        a tenth of a prompt's time.
        """
        rows, count, way = x.size // x.shape[-1], len(cuts) + 1, self._way_for(x)
        length, rest = divmod(self.outputs, count)
        is_equal = not rest and list(cuts) == [length * place for place in range(1, count)]
        if is_equal and way == PANELS and length % panels.PANEL_OUTPUTS == 0 and "bias" not in self:
            return [panels.multiply(x, part) for part in mx.split(self.panels, count)]
        if is_equal and self._ways and rows > 1 and way in _APART and "bias" not in self:
            # Cut and not indexed: MLX gathers what an index asks for, which is a copy.
            apart = mx.split(multiply_apart(x, self.weight, way, count), count)
            return [part.squeeze(0) for part in apart]
        return mx.split(self(x), cuts, axis=-1)


class TiedProduct(_Laid, nn.Embedding):
    """An embedding whose weight is the model's last product as well, and knows its ways as that.

    Args:
        weight: (V, K).
        ways: how to multiply, by rows.
    """

    def __init__(self, weight: mx.array, ways: Ways) -> None:
        nn.Module.__init__(self)
        self._lay(weight, ways)

    def __call__(self, x: mx.array) -> mx.array:
        """Look up (...) ids: (..., K)."""
        return panels.rows_of(self.panels, x) if "panels" in self else nn.Embedding.__call__(self, x)

    def as_linear(self, x: mx.array) -> mx.array:
        """Map (..., K) to (..., V)."""
        return self._multiply(x, self._way_for(x))
