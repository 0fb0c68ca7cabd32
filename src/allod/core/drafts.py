"""What rows may say next: looked up by the engine, or said by a smaller model in the runner."""

from dataclasses import dataclass

from allod.core.ids import SequenceId, TokenId

STEPS_APART = 16
"""A row that was given no draft for so many steps is padded with others of its length again."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a row may say next: it reads these tokens, one or more, behind its last one, all in one step.

    The row takes them as its own as long as each is what it would have said, and says one more.
    """

    sequence: SequenceId
    tokens: tuple[TokenId, ...]


@dataclass(frozen=True, slots=True)
class Guess:
    """What the draft model does in a step of one row: it reads of the row, and says what that may say next.

    Attributes:
        sequence: the row. What the draft model has read is of one row at a time; it is forgotten when that is
            released or parked, and when a guess begins with another.
        start: how many of the row's tokens it has read; with 0 it begins anew. Of a draft it has read all but
            the last token, and keeps what was accepted.
        tokens: the row's tokens from there on, to be read; the row's last one is never among them.
        length: how many tokens it says behind the row's last one, which the row reads as it reads a `Draft`.
            All tokens before the last one are then read. With 0, it reads beside a step that is as any other.
    """

    sequence: SequenceId
    start: int
    tokens: tuple[TokenId, ...]
    length: int
