"""Layers that multiply one input are one product, and models say the same with it."""

from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model
from tests.scaffolding.closeness import distance
from tests.scaffolding.families import DEVICE, FAMILIES, write_random_model
from tests.scaffolding.packed import write_packed_model

from allod.device.choose import choose
from allod.runner import caches, refusals
from allod.runner.joint import First, Part, join
from allod.runner.network import TextNetwork
from mlx import nn

pytestmark = pytest.mark.mlx

TOKENS = [[3, 141, 59, 26, 5, 35, 89, 79]]
BOUND = 1e-4 if DEVICE == "cpu" else 2e-2
"""Relative L2 distance: a product of more outputs may be summed in another order, on GPUs less precisely."""


@pytest.fixture(autouse=True)
def _device() -> None:
    choose(DEVICE)


def network_of(folder: Path) -> TextNetwork:
    module, _ = load_model(folder, lazy=True)
    module.set_dtype(mx.float32)
    return TextNetwork(module)


def parts_of(network: TextNetwork) -> dict[str, str]:
    return {
        path: type(layer).__name__ for path, layer in network.model.named_modules() if isinstance(layer, Part)
    }


def chunk_and_steps(network: TextNetwork) -> list[mx.array]:
    """Scores of a chunk, of a step behind it, and of a step of three rows, where rows can share one."""
    state = network.make_state()
    scores = [network.logits(mx.array(TOKENS), state), network.logits(mx.array([[7]]), state)]
    if not refusals.why_alone(state):
        batch = caches.merge([state, state, state])
        scores.append(network.logits(mx.array([[5], [9], [11]]), batch))
    return scores


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_model_says_the_same_with_joint_products(family: str, tmp_path: Path) -> None:
    """Of every family: a chunk, a token behind it, and a step of rows."""
    folder = tmp_path / "m"
    write_random_model(family, folder)
    wanted, network = chunk_and_steps(network_of(folder)), network_of(folder)
    joined = join(network, network.model)
    assert joined == sum(name == "Part" for name in parts_of(network).values())
    for found, as_before in zip(chunk_and_steps(network), wanted, strict=True):
        assert distance(found, as_before) <= BOUND


@pytest.mark.parametrize("has_bias", [True, False])
def test_packed_layers_are_joined_as_they_are(tmp_path: Path, has_bias: bool) -> None:
    """Queries, keys and values are one product, gate and up another; packed weights stay packed."""
    folder = write_packed_model("llama", tmp_path / "m", attention_bias=has_bias, mlp_bias=has_bias)
    plain, network = network_of(folder), network_of(folder)
    assert join(network, network.model) == 2 * 3
    layer = "model.layers.0"
    assert {path: name for path, name in parts_of(network).items() if path.startswith(layer)} == {
        f"{layer}.self_attn.q_proj": "First",
        f"{layer}.self_attn.k_proj": "Part",
        f"{layer}.self_attn.v_proj": "Part",
        f"{layer}.mlp.gate_proj": "First",
        f"{layer}.mlp.up_proj": "Part",
    }
    assert type(dict(network.model.named_modules())[f"{layer}.mlp.gate_proj.whole"]) is nn.QuantizedLinear
    assert size_bytes(network) == size_bytes(plain)
    for found, wanted in zip(chunk_and_steps(network), chunk_and_steps(plain), strict=True):
        assert distance(found, wanted) <= BOUND


def size_bytes(network: TextNetwork) -> int:
    return sum(array.nbytes for _, array in tree_flatten(network.model.parameters()))


def test_layers_that_are_packed_differently_stay_apart(tmp_path: Path) -> None:
    """A group is of one form: what has other bits multiplies by itself."""
    folder = write_packed_model("llama", tmp_path / "m")
    network = network_of(folder)
    attention = cast("Any", network.model).layers[0].self_attn
    attention.v_proj = nn.Linear(64, 32, bias=False).to_quantized(32, 8)
    join(network, network.model)
    assert [type(layer).__name__ for layer in (attention.q_proj, attention.k_proj, attention.v_proj)] == [
        "First",
        "Part",
        "QuantizedLinear",
    ]


def test_a_model_whose_code_looks_into_its_layers_is_left_as_it_was(tmp_path: Path) -> None:
    """A layer that gives its product away has no weight of its own to be looked at."""
    write_random_model("llama", tmp_path / "m")
    network = network_of(tmp_path / "m")

    class Prying(TextNetwork):
        def logits(self, tokens: mx.array, state: Any, places: mx.array | None = None) -> mx.array:
            scale = cast("Any", self.model).layers[0].mlp.up_proj.weight[0, 0]
            return super().logits(tokens, state, places) + 0 * scale

    wanted = chunk_and_steps(network)
    assert join(Prying(network.model), network.model) == 0
    assert not parts_of(network)
    for found, as_before in zip(chunk_and_steps(network), wanted, strict=True):
        assert mx.array_equal(found, as_before)


def test_what_was_computed_is_let_go_when_all_have_their_part() -> None:
    """Between steps nothing is held; another input, or the same one again, is computed anew."""
    mx.random.seed(3)
    whole = nn.Linear(8, 12)
    first = First(whole, [6, 9, 12])
    others = [Part(first.parts, place) for place in (1, 2)]
    for x in (mx.random.normal((2, 8)), mx.random.normal((5, 1, 8))):
        for _ in range(2):
            parts = [layer(x) for layer in (first, *others)]
            assert mx.array_equal(mx.concatenate(parts, axis=-1), whole(x))
            assert first.parts.holds_nothing
    x, other = mx.random.normal((2, 8)), mx.random.normal((2, 8))
    first(x)
    assert mx.array_equal(others[0](other), whole(other)[..., 6:9])
