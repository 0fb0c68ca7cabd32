"""Exponentials on the CPU: near to the exact ones, nothing of what is hidden, MLX's own for all else."""

from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from allod.device.choose import choose
from allod.runner.exponentials import FoldedAttention, Gates, exchange_gates, exp_of_negative

pytestmark = pytest.mark.mlx

Numbers = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _device() -> None:
    choose("cpu")
    mx.random.seed(5)


@pytest.fixture
def own() -> Iterator[Gates]:
    """What stands for MLX's functions, which are put back afterwards."""
    before = mx.sigmoid, mx.tanh
    yield Gates()
    mx.sigmoid, mx.tanh = before


@pytest.fixture
def attention() -> FoldedAttention:
    return FoldedAttention(left)


def left(q: mx.array, k: mx.array, v: mx.array, **named: object) -> mx.array:
    """Stands for MLX's attention where a test has nothing for it to do."""
    raise AssertionError("this was not to be left to another")


def exact(array: mx.array) -> Numbers:
    return np.array(array.astype(mx.float32), dtype=np.float64)


def test_powers_are_as_near_as_sums_of_them_need() -> None:
    """2e-6 of the value where it is large, 4e-7 of the largest beyond, 1 at zero, far off nothing."""
    x = mx.linspace(-70, 0, 200_001)
    found, wanted = exact(exp_of_negative(x)), np.exp(exact(x))
    assert (np.abs(found - wanted) <= np.where(exact(x) >= -1, 2e-6 * wanted, 4e-7)).all()
    assert exp_of_negative(mx.array([0.0, -0.0])).tolist() == [1, 1]
    assert exact(exp_of_negative(mx.array([-36.0, -1e30, float("-inf")]))).max() < 1e-20
    assert np.isnan(exact(exp_of_negative(mx.array([float("nan")]))))


def test_gates_are_as_near_as_float32_is(own: Gates) -> None:
    """Within 2e-6 everywhere, exact at infinities; other dtypes are MLX's."""
    x = mx.linspace(-90, 90, 100_001)
    assert np.abs(exact(own.sigmoid(x)) - 1 / (1 + np.exp(-exact(x)))).max() <= 2e-6
    assert np.abs(exact(own.tanh(x)) - np.tanh(exact(x))).max() <= 2e-6
    infinite = mx.array([float("inf"), float("-inf")])
    assert np.allclose(exact(own.sigmoid(infinite)), [1, 0], rtol=0, atol=1e-20)
    assert own.tanh(infinite).tolist() == [1, -1]
    assert own.sigmoid(x.astype(mx.bfloat16)).dtype == mx.bfloat16
    assert own.tanh(mx.array([0, 1])).dtype == mx.float32


def masks(rows: int, heads: int, count: int, keys: int) -> dict[str, mx.array | str | None]:
    def some(*shape: int) -> mx.array:
        return mx.concatenate([mx.ones((*shape[:-1], 1)), mx.random.uniform(shape=shape)[..., 1:]], -1) > 0.4

    return {
        "none": None,
        "causal": "causal",
        "of all": some(count, keys),
        "of heads": some(heads, count, keys),
        "of rows": some(rows, 1, 1, keys),
        "of rows and heads": some(rows, heads, count, keys),
        "in numbers": mx.random.normal((rows, 1, count, keys)),
    }


def plain(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | str | None) -> Numbers:
    group = q.shape[1] // k.shape[1]
    keys, values = (np.repeat(exact(each), group, axis=1) for each in (k, v))
    scores = scale * exact(q) @ np.swapaxes(keys, -1, -2)
    if isinstance(mask, str):
        mask = mx.tri(q.shape[2], k.shape[2], k.shape[2] - q.shape[2]).astype(mx.bool_)
    if mask is not None:
        seen = np.array(mask)
        scores = np.where(seen, scores, -np.inf) if mask.dtype == mx.bool_ else scores + seen
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ values


SHAPES = [(1, 9, 3, 1, 40), (3, 8, 8, 1, 17), (2, 8, 1, 7, 30), (1, 4, 2, 33, 33)]


@pytest.mark.parametrize("strip_scores", [1, 1000, 2**18])
@pytest.mark.parametrize("kind", list(masks(1, 1, 1, 1)))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_is_attention(
    attention: FoldedAttention,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    kind: str,
    strip_scores: int,
) -> None:
    """Behind every kind of mask, heads alone and shared, whole and in strips."""
    monkeypatch.setattr("allod.runner.exponentials._STRIP_SCORES", strip_scores)
    rows, heads, key_heads, count, keys = shape
    q = mx.random.normal((rows, heads, count, 16))
    k, v = (mx.random.normal((rows, key_heads, keys, width)) for width in (16, 24))
    mask = masks(rows, heads, count, keys)[kind]
    found = attention(q, k, v, scale=0.25, mask=mask)
    assert found.shape == (rows, heads, count, 24)
    assert np.abs(exact(found) - plain(q, k, v, 0.25, mask)).max() <= 2e-5


def test_what_is_hidden_counts_for_nothing(attention: FoldedAttention) -> None:
    """Not for little: whatever stands behind a mask, the result is the same to the bit."""
    q, k, v = (mx.random.normal((2, heads, 20, 16)) for heads in (4, 2, 2))
    seen = (mx.arange(20) < 15)[None, None, None]
    shown = (mx.arange(20) < 15)[None, None, :, None]
    found = [
        attention(q, mx.where(shown, k, keys), mx.where(shown, v, values), scale=0.25, mask=seen)
        for keys, values in ((0.0, 0.0), (1e6, 0.0), (-1e6, 1e6))
    ]
    assert mx.array_equal(found[0], found[1])
    assert mx.array_equal(found[0], found[2])


def test_what_it_does_not_know_is_left_to_another() -> None:
    """Other dtypes, sinks, heads that cannot be shared out, and nothing to attend to."""
    taken: list[list[str]] = []

    def other(q: mx.array, k: mx.array, v: mx.array, **named: object) -> mx.array:
        taken.append(sorted(named))
        return q

    attention = FoldedAttention(other)
    q, k = mx.ones((1, 4, 1, 8)), mx.ones((1, 2, 5, 8))
    attention(q, k, k, scale=1.0, sinks=mx.zeros((4,)))
    attention(q.astype(mx.bfloat16), k, k, scale=1.0)
    attention(mx.ones((1, 3, 1, 8)), k, k, scale=1.0, mask="causal")
    attention(q, k[:, :, :0], k[:, :, :0], scale=1.0)
    assert taken == [["mask", "scale", "sinks"], *[["mask", "scale"]] * 3]
    attention(q, k, k, scale=1.0, sinks=None)
    assert len(taken) == 4


def test_to_exchange_twice_is_to_exchange_once(own: Gates) -> None:
    """A process may load several models."""
    assert own.sigmoid(mx.array([0.0])).item() == 0.5
    exchange_gates()
    first = mx.sigmoid
    exchange_gates()
    assert mx.sigmoid is first
