"""Where a model's worker can be, and where it can go from there."""

from enum import Enum

from allod.core.hosting import HostPhase


class Phase(Enum):
    """`RESTARTING` lasts from a worker's death until its successor is ready."""

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    FAILED = "failed"


MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.COLD: frozenset({Phase.LOADING}),
    Phase.LOADING: frozenset({Phase.READY, Phase.RESTARTING, Phase.FAILED, Phase.STOPPING}),
    Phase.READY: frozenset({Phase.RESTARTING, Phase.FAILED, Phase.STOPPING}),
    Phase.RESTARTING: frozenset({Phase.READY, Phase.FAILED, Phase.STOPPING}),
    Phase.STOPPING: frozenset({Phase.COLD}),
    Phase.FAILED: frozenset({Phase.LOADING, Phase.COLD}),
}

SHOWN: dict[Phase, HostPhase] = {
    Phase.COLD: "cold",
    Phase.LOADING: "loading",
    Phase.READY: "ready",
    Phase.RESTARTING: "restarting",
    Phase.STOPPING: "stopping",
    Phase.FAILED: "failed",
}
"""The word the rest of the house uses for a phase."""


def move(origin: Phase, target: Phase) -> Phase:
    """The phase after a move.

    Raises:
        RuntimeError: the table has no such move.
    """
    if target not in MOVES[origin]:
        raise RuntimeError(f"a worker cannot go from {origin.value} to {target.value}")
    return target
