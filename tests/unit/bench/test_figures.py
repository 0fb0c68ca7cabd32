"""Statistics of samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.bench.figures import counted, median, medians, paired_ratios, percentile

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(numbers, st.floats(0, 1))
def test_a_percentile_is_numpys(values: list[float], share: float) -> None:
    """Percentiles are linear between ranks, as everybody's library computes them."""
    expected = float(np.quantile(values, share))
    assert percentile(values, share) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_nothing_has_no_percentile() -> None:
    """No values, no figure: not a zero."""
    assert percentile([], 0.5) is None
    assert median([]) is None
    assert medians([{"a": None}]) == {}


def test_medians_leave_out_what_is_missing() -> None:
    """A sample without a figure does not count for it, and counts for the others."""
    assert medians([{"a": 1.0, "b": 5.0}, {"a": None, "b": 7.0}, {"a": 3.0}]) == {"a": 2.0, "b": 6.0}


def test_ratios_are_of_pairs() -> None:
    """Each sample is divided by the one taken next to it; a pair with a hole in it counts for nothing."""
    assert paired_ratios([2.0, None, 9.0, 1.0], [1.0, 4.0, 3.0, None]) == (2.0, 3.0)
    assert paired_ratios([1.0], [0.0]) == ()


def test_failures_are_counted_by_kind() -> None:
    """What did not fail has no kind."""
    assert counted(["", "timeout", "http 503", "timeout"]) == {"http 503": 1, "timeout": 2}
