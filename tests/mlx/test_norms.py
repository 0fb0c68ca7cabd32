"""Norms that compute their scale for every token have it computed once, and models say the same bits."""

from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import pytest
from mlx_lm.utils import load_model
from tests.scaffolding.families import DEVICE, FAMILIES, write_random_model

from allod.device.choose import choose
from allod.runner.network import TextNetwork
from allod.runner.norms import settle
from mlx import nn

pytestmark = pytest.mark.mlx

TOKENS = [[3, 141, 59, 26, 5, 35, 89, 79]]
WIDTH = 8


@pytest.fixture(autouse=True)
def _device() -> None:
    choose(DEVICE)


def network_of(folder: Path) -> TextNetwork:
    module, _ = load_model(folder, lazy=True)
    return TextNetwork(module)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_model_says_the_same_bits(family: str, tmp_path: Path) -> None:
    """Of every family: a chunk and a token behind it."""
    write_random_model(family, tmp_path / "m")
    plain, network = network_of(tmp_path / "m"), network_of(tmp_path / "m")
    settle(network, network.model)
    states = plain.make_state(), network.make_state()
    for tokens in (TOKENS, [[7]]):
        wanted, found = (
            each.logits(mx.array(tokens), state) for each, state in zip((plain, network), states, strict=True)
        )
        assert mx.array_equal(found, wanted)


def test_all_norms_of_a_gemma_are_settled(tmp_path: Path) -> None:
    """Six a layer and the last one; none is left that adds one to its scale in each call."""
    write_random_model("gemma3_text", tmp_path / "m")
    network = network_of(tmp_path / "m")
    norms = {
        path: cast("Any", layer).weight
        for path, layer in network.model.named_modules()
        if type(layer).__name__ == "RMSNorm"
    }
    layers = len(cast("Any", network.model).layers)
    assert settle(network, network.model) == len(norms) == 6 * layers + 1
    settled = dict(network.model.named_modules())
    for path, weight in norms.items():
        assert type(settled[path]) is nn.RMSNorm
        assert mx.array_equal(cast("nn.RMSNorm", settled[path]).weight, 1.0 + weight)
    assert settle(network, network.model) == 0


class Shifted(nn.Module):
    """A norm as Gemma's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = mx.arange(WIDTH) / WIDTH

    def __call__(self, x: mx.array) -> mx.array:  # type: ignore[override]
        return mx.fast.rms_norm(x, 1.0 + self.weight, 1e-5)


class AsItIs(Shifted):
    """Takes its scale as it is."""

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self.weight, 1e-5)


class OfItsInput(Shifted):
    """A scale that depends on what comes in."""

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self.weight * x[0, 0], 1e-5)


class Halving(Shifted):
    """Does more than one norm."""

    def __call__(self, x: mx.array) -> mx.array:
        return 0.5 * super().__call__(x)


class OfAnother(Shifted):
    """Norms something else than what comes in."""

    def __call__(self, x: mx.array) -> mx.array:
        return super().__call__(x + 1.0)


class Gated(Shifted):
    """May be given a second array."""

    def __call__(self, x: mx.array, gate: mx.array | None = None) -> mx.array:
        return super().__call__(x if gate is None else x * gate)


class Model(nn.Module):
    """A table and a norm."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.table = nn.Embedding(16, WIDTH)
        self.layers: list[nn.Module] = []

    def __call__(self, inputs: mx.array, cache: object = None) -> mx.array:
        return self.table.as_linear(self.norm(self.table(inputs)))


@pytest.mark.parametrize("kind", [Shifted, AsItIs, OfItsInput, Halving, OfAnother, Gated])
def test_only_what_does_nothing_else_is_replaced(kind: type[Shifted]) -> None:
    """A layer whose scale is as it is, depends on its input, or is not all that it does, stays."""
    model = Model(kind())
    network = TextNetwork(model)
    wanted = network.logits(mx.array([[3, 14, 5, 9]]), network.make_state())
    assert settle(network, model) == (kind is Shifted)
    assert type(model.norm) is (nn.RMSNorm if kind is Shifted else kind)
    assert mx.array_equal(network.logits(mx.array([[3, 14, 5, 9]]), network.make_state()), wanted)
