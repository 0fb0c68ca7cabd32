"""Pieces of calls to events, with the identifiers that results refer to."""

from uuid import uuid4

from allod.core.events import ToolCallDelta, ToolCallEvent, ToolCallFinished, ToolCallStarted
from allod.text.markup import CallArguments, CallClosed, CallOpened

_RANDOM_CHARS = 24


class CallEvents:
    """Numbers the calls of one choice and names each.

    Attributes:
        is_open: a call has begun and not ended.
    """

    def __init__(self, choice: int) -> None:
        self.is_open = False
        self._choice = choice
        self._begun = 0
        self._ended = 0

    @property
    def are_complete(self) -> bool:
        """There are calls, and each of them has ended."""
        return 0 < self._begun == self._ended

    def feed(self, piece: CallOpened | CallArguments | CallClosed) -> list[ToolCallEvent]:
        """The events of one piece."""
        match piece:
            case CallOpened(name=name):
                self._begun += 1
                self.is_open = True
                identifier = f"call_{uuid4().hex[:_RANDOM_CHARS]}"
                return [ToolCallStarted(self._choice, self._begun - 1, identifier, name)]
            case CallArguments(text=text):
                return [ToolCallDelta(self._choice, self._begun - 1, text)] if text else []
            case CallClosed():
                self._ended += 1
                self.is_open = False
                return [ToolCallFinished(self._choice, self._begun - 1)]
