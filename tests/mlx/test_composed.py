"""Norms and rotations of few operations: MLX's results, computed once for all layers of a step."""

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.device.choose import choose
from allod.runner.composed import ComposedNetwork, Norms, Rotations
from allod.runner.network import TextNetwork
from mlx import nn

pytestmark = pytest.mark.mlx

NEAR = 1e-5


@pytest.fixture(autouse=True)
def own() -> Rotations:
    """Stands beside MLX's functions."""
    choose("cpu")
    mx.random.seed(11)
    return Rotations()


class Noting(nn.Module):
    """Stands for a model that finds whose functions there are."""

    def __call__(self, inputs: mx.array, cache: object = None) -> mx.array:
        if not inputs.size:
            raise ValueError("empty")
        assert isinstance(getattr(mx.fast.rope, "__self__", None), Rotations)
        assert isinstance(getattr(mx.fast.rms_norm, "__self__", None), Norms)
        return inputs


def distance(found: mx.array, wanted: mx.array) -> float:
    """The largest, over the largest number wanted."""
    return (mx.max(mx.abs(found - wanted)) / mx.max(mx.abs(wanted))).item()


SHAPES = ((1, 3, 1, 16), (1, 1, 7, 16), (4, 2, 1, 16), (3, 2, 5, 16), (2, 6, 16))


@given(
    shape=st.sampled_from(SHAPES),
    dims=st.sampled_from((16, 8, 4)),
    traditional=st.booleans(),
    scale=st.sampled_from((1.0, 0.25)),
    offset=st.integers(0, 4000),
    form=st.sampled_from(("number", "one", "of each row")),
    is_given=st.booleans(),
)
def test_rotations_are_those_of_mlx(
    shape: tuple[int, ...],
    dims: int,
    traditional: bool,
    scale: float,
    offset: int,
    form: str,
    is_given: bool,
) -> None:
    """For all ways to pair, to say where a token stands, and to say how fast each pair turns."""
    a = mx.random.normal(shape)
    rows = [offset + 3 * row for row in range(shape[0])]
    offsets = {"number": offset, "one": mx.array(offset), "of each row": mx.array(rows)}
    frequencies = mx.exp(mx.linspace(0, 9, dims // 2)) if is_given else None
    named = {
        "traditional": traditional,
        "base": None if is_given else 10_000.0,
        "scale": scale,
        "offset": offsets[form],
        "freqs": frequencies,
    }
    # Both compute the angle itself in float32, in another order: at position 4,000 it is exact to 2e-4.
    near = NEAR + 2e-7 * (offset + shape[-2])
    assert distance(Rotations().rope(a, dims, **named), mx.fast.rope(a, dims, **named)) <= near


def test_what_is_kept_of_one_position_serves_no_other(own: Rotations) -> None:
    """Each of these differs from those before it in one thing alone."""
    a = mx.random.normal((2, 2, 3, 16))
    plain = {"traditional": False, "base": 10_000.0, "scale": 1.0, "offset": 5}
    others = (
        {"offset": 6},
        {"offset": mx.array([5, 9])},
        {"offset": mx.array([5, 8])},
        {"base": 500.0},
        {"scale": 0.5},
        {"traditional": True},
        {"base": None, "freqs": mx.linspace(1, 9, 8)},
        {"base": None, "freqs": mx.linspace(1, 8, 8)},
    )
    for other in (dict[str, object](), *others, *reversed(others)):
        assert distance(own.rope(a, 16, **plain | other), mx.fast.rope(a, 16, **plain | other)) <= NEAR
        cut = a[:, :, :2]
        assert distance(own.rope(cut, 16, **plain | other), mx.fast.rope(cut, 16, **plain | other)) <= NEAR


def test_layers_of_a_step_share_what_they_turn_by(own: Rotations, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and queries of all layers have the same positions, as a number or as the same array."""
    computed: list[int] = []
    cosine = mx.cos

    def counted(theta: mx.array) -> mx.array:
        computed.append(theta.size)
        return cosine(theta)

    monkeypatch.setattr(mx, "cos", counted)
    for offset in (7, mx.array([7, 9])):
        for heads in (4, 2, 4, 2):
            a = mx.random.normal((2, heads, 1, 16))
            own.rope(a, 16, traditional=False, base=1e4, scale=1.0, offset=offset)
    assert len(computed) == 2


@given(
    width=st.sampled_from((1, 3, 64)),
    outer=st.sampled_from(((), (1,), (2, 5))),
    eps=st.sampled_from((1e-5, 1e-3)),
    has_weight=st.booleans(),
)
def test_norms_are_those_of_mlx(width: int, outer: tuple[int, ...], eps: float, has_weight: bool) -> None:
    """With a weight and without one; numbers near zero are where the smallest summand counts."""
    weight = mx.random.normal((width,)) if has_weight else None
    for size in (1.0, 1e-3):
        a = size * mx.random.normal((*outer, width))
        assert distance(Norms().rms_norm(a, weight, eps), mx.fast.rms_norm(a, weight, eps)) <= NEAR


def test_other_types_are_left_to_mlx(own: Rotations) -> None:
    """What is half as precise is composed as MLX does, to the bit."""
    a, weight = mx.random.normal((1, 2, 3, 16)).astype(mx.bfloat16), mx.random.normal((16,))
    named = {"traditional": False, "base": 1e4, "scale": 1.0, "offset": 3}
    assert mx.array_equal(own.rope(a, 16, **named), mx.fast.rope(a, 16, **named))
    assert mx.array_equal(Norms().rms_norm(a, weight, 1e-5), mx.fast.rms_norm(a, weight, 1e-5))
    halved = weight.astype(mx.bfloat16)
    assert Norms().rms_norm(weight, halved, 1e-5).dtype == mx.fast.rms_norm(weight, halved, 1e-5).dtype


def test_they_stand_for_those_of_mlx_while_a_graph_is_built() -> None:
    """And no longer, whatever happens meanwhile."""
    before = mx.fast.rope, mx.fast.rms_norm
    network = ComposedNetwork(TextNetwork(Noting()))
    assert network.logits(mx.array([[1]]), []).tolist() == [[1]]
    with pytest.raises(ValueError, match="empty"):
        network.logits(mx.array([[]]), [])
    assert (mx.fast.rope, mx.fast.rms_norm) == before
