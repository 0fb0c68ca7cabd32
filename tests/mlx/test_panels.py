"""Products by weights in panels: the same numbers, whatever comes in and whoever computes beside."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scaffolding.closeness import distance
from tests.scaffolding.families import DEVICE

from allod.device.choose import choose
from allod.runner import panels
from allod.runner.choice import Ways
from allod.runner.measured import PANELS
from allod.runner.product import Product, TiedProduct
from mlx import nn

WAYS: Ways = ((2**31, PANELS),)
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _in_front() -> None:
    choose(DEVICE)
    if not panels.are_understood():
        pytest.skip("no BLAS, no compiler, or no CPU")
    mx.random.seed(5)


@given(
    st.lists(st.integers(1, 7), min_size=0, max_size=3), st.integers(1, 9), st.integers(1, 130), st.booleans()
)
@settings(max_examples=80, deadline=None)
def test_the_product_is_the_plain_one(outer: list[int], count: int, inputs: int, turned: bool) -> None:
    """For any number of rows, panels and inputs, and for inputs that do not lie row by row."""
    weight = mx.random.normal((count * panels.PANEL_OUTPUTS, inputs))
    x = mx.random.normal((inputs, 6)).T if turned else mx.random.normal((*outer, inputs))
    found = panels.multiply(x, panels.in_panels(weight))
    assert found.shape == (*x.shape[:-1], weight.shape[0])
    assert distance(found, x @ weight.T) < TOLERANCE


@pytest.mark.parametrize("rows", [1, 12, 13, 200, 700])
def test_long_inputs_are_multiplied_in_blocks(rows: int) -> None:
    """More rows than a core's cache holds of inputs, and fewer."""
    weight, x = mx.random.normal((96, 1536)), mx.random.normal((rows, 1536))
    assert distance(panels.multiply(x, panels.in_panels(weight)), x @ weight.T) < TOLERANCE


def test_other_products_are_the_blass() -> None:
    """What does not say so is multiplied as ever, with any alpha and beta."""
    x, weight, more = mx.random.normal((5, 48)), mx.random.normal((64, 48)), mx.random.normal((5, 64))
    wanted = 2 * np.array(x) @ np.array(weight).T + 3 * np.array(more)
    assert distance(mx.addmm(more, x, weight.T, alpha=2.0, beta=3.0), mx.array(wanted)) < TOLERANCE


def test_layers_stand_for_those_of_mlx() -> None:
    """A product with a bias, equal and unequal parts, and a table that is looked up in and scores."""
    linear, embedding = nn.Linear(48, 192, bias=True), nn.Embedding(96, 48)
    x = mx.random.normal((3, 2, 48))
    layer = Product(linear.weight, linear.bias, WAYS)
    assert distance(layer(x), linear(x)) < TOLERANCE
    plain = Product(linear.weight, None, WAYS)
    for cuts in ((96,), (64, 128), (48, 96, 144), (32, 160)):
        whole = mx.concatenate(list(plain.parts(x, cuts)), axis=-1)
        assert distance(whole, x @ linear.weight.T) < TOLERANCE
    tied = TiedProduct(embedding.weight, WAYS)
    ids = mx.array([[0, 31, 32], [95, 7, 64]])
    assert mx.array_equal(tied(ids), embedding(ids))
    assert distance(tied.as_linear(x), embedding.as_linear(x)) < TOLERANCE
    for each, plain_one in ((layer, linear), (tied, embedding)):
        assert mx.array_equal(each.weight, plain_one.weight), "a model's code may look into it"


def test_weights_that_make_no_whole_panels_stay_as_they_are() -> None:
    """Nor do those of other types lie so."""
    assert panels.can_hold(64, mx.float32)
    assert not panels.can_hold(48, mx.float32)
    assert not panels.can_hold(64, mx.bfloat16)
