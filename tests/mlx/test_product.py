"""Products in every way: the same numbers, in layers that models take for their own."""

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from tests.scaffolding.closeness import distance
from tests.scaffolding.families import DEVICE

from allod.device.choose import choose
from allod.runner import product
from allod.runner.choice import Ways
from allod.runner.measured import (
    COLUMNS,
    PADDED,
    PADDED_COLUMNS,
    PIECE_MULTIPLICATIONS,
    PIECE_ROWS,
    PIECES,
    ROWS_FIRST,
    WEIGHTS_FIRST,
    Way,
)
from allod.runner.product import Product, TiedProduct, by_columns, multiply, outputs_of_piece
from mlx import nn

pytestmark = pytest.mark.mlx

WAYS: tuple[Way, ...] = (ROWS_FIRST, WEIGHTS_FIRST, PADDED, PIECES, COLUMNS, PADDED_COLUMNS)
SHAPES = [(1, 1, 48), (5, 1, 48), (1, 7, 48), (3, 4, 48), (16, 1, 48), (2, 3, 5, 48), (48,)]
TOLERANCE = {mx.float32: 1e-6, mx.bfloat16: 1e-2}


@pytest.fixture(autouse=True)
def _device() -> None:
    choose(DEVICE)
    mx.random.seed(3)


@pytest.fixture(autouse=True)
def _pieces_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that weights of the tests have several."""
    monkeypatch.setattr(
        product, "outputs_of_piece", lambda rows, outputs, _inputs: outputs // (2 + rows % 2 * 3)
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_product(way: Way, shape: tuple[int, ...], dtype: mx.Dtype) -> None:
    """Shape, dtype and numbers are those of a plain product, for any number of leading dimensions."""
    inputs = mx.random.normal(shape).astype(dtype)
    weight = mx.random.normal((40, 48)).astype(dtype)
    wanted = inputs @ weight.T
    found = multiply(inputs, weight, way)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert distance(found, wanted) <= TOLERANCE[dtype]


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_product_stands_for_a_linear_layer(way: Way, has_bias: bool) -> None:
    """Its class, parameters, results and what it becomes when quantised are a linear layer's."""
    linear = nn.Linear(64, 40, bias=has_bias)
    product = Product(linear.weight, linear.get("bias"), ((2**31, way),))
    inputs = mx.random.normal((5, 1, 64))
    assert isinstance(product, nn.Linear)
    assert [name for name, _ in tree_flatten(product.parameters())] == [
        name for name, _ in tree_flatten(linear.parameters())
    ]
    assert distance(product(inputs), linear(inputs)) <= TOLERANCE[mx.float32]
    assert isinstance(product.to_quantized(32, 4), nn.QuantizedLinear)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("cuts", [(), (20,), (10, 20, 30), (24, 32)], ids=str)
@pytest.mark.parametrize("ways", [(), *(((2**31, way),) for way in WAYS)], ids=str)
def test_parts_are_those_of_the_whole(ways: Ways, cuts: tuple[int, ...], has_bias: bool) -> None:
    """However many they are, equal or not, and whatever computes them."""
    linear = nn.Linear(64, 40, bias=has_bias)
    layer = Product(linear.weight, linear.get("bias"), ways)
    for shape in ((1, 1, 64), (5, 1, 64), (2, 7, 64)):
        inputs = mx.random.normal(shape)
        wanted = mx.split(linear(inputs), list(cuts), axis=-1)
        found = layer.parts(inputs, cuts)
        assert [part.shape for part in found] == [part.shape for part in wanted]
        assert distance(mx.concatenate(list(found), -1), linear(inputs)) <= TOLERANCE[mx.float32]


@pytest.mark.parametrize("way", WAYS)
def test_a_tied_product_stands_for_an_embedding(way: Way) -> None:
    """It looks up exactly, and scores as `as_linear` does."""
    embedding = nn.Embedding(40, 64)
    tied = TiedProduct(embedding.weight, ((2**31, way),))
    hidden = mx.random.normal((5, 1, 64))
    assert isinstance(tied, nn.Embedding)
    assert mx.array_equal(tied(mx.array([[3, 39]])), embedding(mx.array([[3, 39]])))
    assert distance(tied.as_linear(hidden), embedding.as_linear(hidden)) <= TOLERANCE[mx.float32]


@given(st.integers(1, PIECE_ROWS), st.integers(1, 5000), st.integers(1, 5000))
def test_pieces_are_equal_and_as_few_as_may_be(rows: int, outputs: int, inputs: int) -> None:
    """They divide a weight, and no larger ones that do so have few enough multiplications."""
    found = outputs_of_piece(rows, outputs, inputs)
    assert outputs % found == 0
    assert found == 1 or found * rows * inputs <= PIECE_MULTIPLICATIONS
    larger = [count for count in range(found + 1, outputs + 1) if outputs % count == 0]
    assert all(count * rows * inputs > PIECE_MULTIPLICATIONS for count in larger)


def test_columns_lie_in_one_piece() -> None:
    """The array is the same; what changes is that its transpose need not be copied to be contiguous."""
    weight = mx.random.normal((40, 48))
    laid = by_columns(weight)
    mx.eval(laid)
    assert mx.array_equal(laid, weight)
    assert np.array(laid, copy=False).strides == (4, 4 * 40)


def test_the_way_depends_on_the_rows_that_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are counted over all leading dimensions, whatever they are."""
    taken: list[tuple[int, Way]] = []

    def noted(inputs: mx.array, weight: mx.array, way: Way) -> mx.array:
        taken.append((math.prod(inputs.shape[:-1]), way))
        return inputs @ weight.T

    monkeypatch.setattr("allod.runner.product.multiply", noted)
    tied = TiedProduct(mx.ones((40, 64)), ((1, WEIGHTS_FIRST), (15, PADDED)))
    for shape in ((1, 1, 64), (3, 5, 64), (2, 8, 64)):
        tied.as_linear(mx.ones(shape))
    assert taken == [(1, WEIGHTS_FIRST), (15, PADDED), (16, ROWS_FIRST)]
