"""Where a model's worker can be."""

import pytest

from allod.local.phases import MOVES, SHOWN, Phase, move


def test_every_phase_has_moves_and_a_word() -> None:
    """The tables are complete."""
    assert set(MOVES) == set(SHOWN) == set(Phase)


def test_every_phase_can_be_reached_and_leads_to_cold() -> None:
    """No phase is a trap: from each one the worker can be made cold."""
    for origin in Phase:
        reached = {origin}
        while more := {target for phase in reached for target in MOVES[phase]} - reached:
            reached |= more
        assert reached == set(Phase)


def test_other_moves_are_faults() -> None:
    """A cold model is not ready without having loaded."""
    assert move(Phase.COLD, Phase.LOADING) is Phase.LOADING
    with pytest.raises(RuntimeError, match="from cold to ready"):
        move(Phase.COLD, Phase.READY)
