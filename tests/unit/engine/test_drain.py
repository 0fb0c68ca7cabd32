"""When a client may come back."""

import pytest

from allod.engine.drain import DrainRate


def test_before_anything_is_measured_a_modest_rate_is_assumed():
    """200 tokens per second, clamped like everything else."""
    rate = DrainRate()
    assert rate.seconds_for(2000) == 10
    assert rate.seconds_for(0) == 1
    assert rate.seconds_for(10**9) == 300


def test_the_first_measurement_is_taken_as_it_is():
    """500 tokens in 10 seconds drain 1000 tokens in 20."""
    rate = DrainRate()
    rate.start(100.0)
    rate.finish(500, 110.0)
    assert rate.seconds_for(1000) == 20


def test_old_measurements_fade():
    """After many times the memory, only the new rate counts."""
    rate = DrainRate()
    rate.start(0.0)
    rate.finish(100, 10.0)
    rate.finish(30_000, 310.0)
    assert rate.seconds_for(1000) == pytest.approx(10, abs=1)


def test_idleness_is_not_slowness():
    """Time between the end of work and its next start does not count."""
    rate = DrainRate()
    rate.start(0.0)
    rate.finish(500, 10.0)
    rate.start(10_000.0)
    rate.finish(500, 10_010.0)
    assert rate.seconds_for(1000) == 20


def test_answers_that_end_in_the_same_instant_count_together():
    """No elapsed time is no division by zero, and no token is lost."""
    rate = DrainRate()
    rate.start(0.0)
    rate.finish(100, 0.0)
    rate.finish(100, 0.0)
    rate.finish(100, 3.0)
    assert rate.seconds_for(1000) == 10
