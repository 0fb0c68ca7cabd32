"""The byte budget: what is asked for, or what leaves the system its room."""

import pytest

from allod.device.base import GIB, budget_bytes


@pytest.mark.parametrize(
    ("pool_gib", "expected_gib"),
    [(24, 16.0), (128, 115.2), (16, 8.0), (8, 4.0)],
)
def test_default_leaves_eight_gib_or_a_tenth(pool_gib: int, expected_gib: float) -> None:
    """max(8 GiB, 10%) stays with the system; a small machine still gives half."""
    assert budget_bytes(pool_gib * GIB, 0) == pytest.approx(expected_gib * GIB, abs=1)


def test_a_wish_is_obeyed() -> None:
    """A number of bytes is taken as it is."""
    assert budget_bytes(24 * GIB, 3 * GIB) == 3 * GIB


def test_more_than_there_is_is_refused() -> None:
    """A budget beyond the pool is an error with both numbers."""
    with pytest.raises(ValueError, match=r"9663676416 .* 8589934592"):
        budget_bytes(8 * GIB, 9 * GIB)
