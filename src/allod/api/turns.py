"""Whose turn it is on a connection, and whose turn it can be next."""

from enum import Enum, auto


class Turn(Enum):
    """In `SILENT`, `ASKING` and `OWING` the client is to act, and soon."""

    SILENT = auto()
    """Connected, nothing said."""

    ASKING = auto()
    """The head of a request arrives."""

    SERVED = auto()
    """The head is there. The server reads the body and answers, however long that takes."""

    IDLE = auto()
    """Answered. The client may ask again, or not."""

    OWING = auto()
    """Answered, perhaps before all of the body was sent: what comes may be the rest of it."""


MOVES: dict[Turn, frozenset[Turn]] = {
    Turn.SILENT: frozenset({Turn.ASKING}),
    Turn.ASKING: frozenset({Turn.SERVED}),
    Turn.SERVED: frozenset({Turn.IDLE, Turn.OWING}),
    Turn.IDLE: frozenset({Turn.ASKING, Turn.SERVED}),  # SERVED at once where requests come in one piece
    Turn.OWING: frozenset({Turn.SERVED}),  # where one request ends and the next begins is not seen from here
}

HURRIED = frozenset({Turn.SILENT, Turn.ASKING, Turn.OWING})
"""What may not last."""


def move(origin: Turn, target: Turn) -> Turn:
    """The turn after a move.

    Raises:
        RuntimeError: the table has no such move.
    """
    if target not in MOVES[origin]:
        raise RuntimeError(f"a connection cannot go from {origin.name} to {target.name}")
    return target
