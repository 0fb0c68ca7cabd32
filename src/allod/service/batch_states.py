"""The life of a batch, as a table."""

from collections.abc import Mapping

import msgspec

from allod.wire.batches import BatchObject, BatchStatus

MOVES: Mapping[BatchStatus, frozenset[BatchStatus]] = {
    "validating": frozenset({"in_progress", "failed", "cancelling", "expired"}),
    "in_progress": frozenset({"finalizing", "failed", "cancelling", "expired"}),
    "finalizing": frozenset({"completed", "failed"}),
    "cancelling": frozenset({"cancelled", "failed"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "expired": frozenset(),
    "cancelled": frozenset(),
}


def is_over(status: BatchStatus) -> bool:
    """True when nothing comes after."""
    return not MOVES[status]


def moved(batch: BatchObject, to: BatchStatus, now: int, **changes: object) -> BatchObject:
    """The batch in its next state, which it is in since `now`.

    Raises:
        RuntimeError: the table has no such move.
    """
    if to not in MOVES[batch.status]:
        raise RuntimeError(f"batch {batch.id} cannot move from {batch.status} to {to}")
    return msgspec.structs.replace(batch, status=to, **{f"{to}_at": now}, **changes)
