"""The life of a batch."""

from typing import get_args

import pytest

from allod.service.batch_states import MOVES, is_over, moved
from allod.wire.batches import BatchObject, BatchStatus

STATUSES: tuple[BatchStatus, ...] = get_args(BatchStatus)


def batch(status: BatchStatus) -> BatchObject:
    return BatchObject(
        id="batch_1", endpoint="/v1/embeddings", input_file_id="f", created_at=1, expires_at=9, status=status
    )


@pytest.mark.parametrize("start", STATUSES)
@pytest.mark.parametrize("to", STATUSES)
def test_a_move_happens_exactly_when_the_table_has_it(start: BatchStatus, to: BatchStatus):
    """It sets the time of its state and what comes with it; any other move is a fault of ours."""
    if to in MOVES[start]:
        after = moved(batch(start), to, 7, model="m")
        assert (after.status, getattr(after, f"{to}_at"), after.model) == (to, 7, "m")
    else:
        with pytest.raises(RuntimeError, match=f"{start} to {to}"):
            moved(batch(start), to, 7)


def test_the_table_is_complete_and_every_life_ends():
    """Four ends; from every state one of them is reached."""
    assert set(MOVES) == set(STATUSES)
    ends = {status for status in STATUSES if is_over(status)}
    assert ends == {"completed", "failed", "expired", "cancelled"}
    ending: set[str] = set(ends)
    while grown := {status for status in STATUSES if MOVES[status] & ending} - ending:
        ending |= grown
    assert ending == set(STATUSES)
