"""The arithmetic of the roofline."""

import pytest

from allod.bench.raw import Bandwidth, WeightBytes, raw_rows


def test_a_dense_model_reads_all_weights_once_a_step() -> None:
    """However many rows share the step."""
    assert WeightBytes(100).read(1) == WeightBytes(100).read(32) == 100


def test_experts_are_read_as_rows_choose_them() -> None:
    """One row reads its experts and no more; many rows come near to all of them."""
    weights = WeightBytes(100, experts=800, expert_count=8, experts_per_token=2)
    assert weights.read(1) == pytest.approx(100 + 200)
    assert weights.read(2) == pytest.approx(100 + 800 * (1 - 0.75**2))
    assert weights.read(64) == pytest.approx(900, rel=1e-3)


def test_what_is_reached_is_least_over_actual() -> None:
    """A step that moves 50 bytes at 100 bytes/s takes half a second at least; one second reaches half."""
    rows = raw_rows(4, 128, (0.9, 1.0, 5.0), 50.0, Bandwidth(10.0, 100.0, 20.0))
    assert (rows.least_seconds, rows.step_seconds, rows.reached) == (0.5, 1.0, 0.5)
    assert rows.tokens_per_second == 4.0
    assert rows.decode_tokens_per_second == pytest.approx((4 / 0.9, 4.0, 0.8))
