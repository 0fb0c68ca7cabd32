"""The byte budget: what is asked for, or what leaves the system its room, shared between workers."""

import pytest

from allod.device.base import GIB, Platform, beside_the_system, budget_bytes


class Machine:
    """A platform of a given size."""

    description = "a machine"
    widened_dtype = None
    tries_ways = False
    prepares_shapes = False
    runs_row_kernel = False
    row_length_factor = 2
    computes_beside = False
    exponentials_are_slow = False
    composes_norms = False
    fuses_attention = True
    attention_strip_bytes = 1

    def __init__(self, gib: int) -> None:
        self._bytes = gib * GIB

    def memory_bytes(self) -> int:
        return self._bytes

    def default_budget_bytes(self) -> int:
        return beside_the_system(self._bytes)


MACHINE: Platform = Machine(24)


@pytest.mark.parametrize(
    ("memory_gib", "expected_gib"),
    [(24, 16.0), (128, 115.2), (16, 8.0), (8, 4.0)],
)
def test_default_leaves_eight_gib_or_a_tenth(memory_gib: int, expected_gib: float) -> None:
    """max(8 GiB, 10%) stays with the system; a small machine still gives half."""
    assert beside_the_system(memory_gib * GIB) == pytest.approx(expected_gib * GIB, abs=1)


def test_a_wish_is_obeyed() -> None:
    """A number of bytes is taken as it is."""
    assert budget_bytes(MACHINE, 3 * GIB, 1) == 3 * GIB


def test_workers_share_the_budget() -> None:
    """Two workers at once get half each, of a wish or of the default."""
    assert budget_bytes(MACHINE, 3 * GIB, 2) == 3 * GIB // 2
    assert budget_bytes(MACHINE, 0, 2) == 8 * GIB


def test_more_than_there_is_is_refused() -> None:
    """A budget beyond the memory is an error with both numbers and the setting's name."""
    with pytest.raises(ValueError, match=r"memory_budget_bytes is 26843545600, .* 25769803776 bytes"):
        budget_bytes(MACHINE, 25 * GIB, 1)
