"""Events to one whole response."""

import msgspec

from allod.core.errors import AllodError, InternalFailure
from allod.core.events import Event, Failed
from allod.wire.dialect import Header
from allod.wire.responses.shapes import Echo
from allod.wire.responses.stream import ResponseEvents


class ResponseWhole:
    """A `response` object: the one that the stream of the same events ends with."""

    def __init__(self, header: Header, echo: Echo) -> None:
        self._events = ResponseEvents(header, echo)
        self._error: AllodError | None = None

    def feed(self, event: Event) -> None:
        """Take the next event."""
        self._events.feed(event)
        if isinstance(event, Failed):
            self._error = event.error

    def body(self) -> bytes:
        """The JSON answer.

        Raises:
            AllodError: the request failed.
            InternalFailure: the events ended without an end.
        """
        if self._error is not None:
            raise self._error
        return self.record()

    def record(self) -> bytes:
        """The response as it is kept, however it ended.

        Raises:
            InternalFailure: the events ended without an end.
        """
        if self._events.final is None:
            raise InternalFailure("the answer broke off before it was complete")
        return msgspec.json.encode(self._events.final)
