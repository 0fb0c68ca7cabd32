"""GELU without a power is GELU, in every type, wherever models look for it."""

import math
from importlib import import_module

import mlx.core as mx
import numpy as np
import pytest
from tests.scaffolding.families import DEVICE

from allod.device.choose import choose
from allod.runner.activations import exchange_activations, gelu_approx
from mlx import nn

pytestmark = pytest.mark.mlx

BOUNDS = {mx.float32: 1e-6, mx.float16: 2e-3, mx.bfloat16: 2e-2}
"""Of the value, or of one where that is smaller: a few roundings."""


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
def test_it_is_as_near_as_its_type_is(dtype: mx.Dtype) -> None:
    """Computed in double precision by numpy from the same inputs; the type stays."""
    choose(DEVICE)
    x = mx.linspace(-12, 12, 10_001).astype(dtype)
    found = gelu_approx(x)
    wide = np.array(x.astype(mx.float32), dtype=np.float64)
    wanted = wide / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    assert found.dtype == dtype
    distance = np.abs(np.array(found.astype(mx.float32), dtype=np.float64) - wanted)
    assert (distance / np.maximum(np.abs(wanted), 1)).max() <= BOUNDS[dtype]


def test_models_find_it_by_name_and_in_the_layer() -> None:
    """Exchanged once or twice, and nothing but this."""
    before = vars(nn)["silu"]
    exchange_activations()
    exchange_activations()
    assert vars(nn)["gelu_approx"] is gelu_approx
    assert vars(import_module("mlx.nn.layers.activations"))["gelu_approx"] is gelu_approx
    assert vars(nn)["silu"] is before
