"""Events of a backend to events of a response, and those to a stream."""

from collections.abc import Iterable

import msgspec

from allod.core.errors import AllodError, Cancelled
from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.wire.dialect import Header
from allod.wire.responses.output import OpenCall, OpenItem, OpenMessage, OpenReasoning
from allod.wire.responses.shapes import Echo, Json, Outcome, error_shape, response_shape
from allod.wire.sse import Splice, named_frame, one_line

_encode = msgspec.json.Encoder().encode


class ResponseEvents:
    """Writes one response: its items, and the numbered events that tell of them.

    Attributes:
        final: the response object as it ended; None before that.
    """

    def __init__(self, header: Header, echo: Echo) -> None:
        self.final: Json | None = None
        self._header = header
        self._echo = echo
        self._output: list[Json] = []
        self._open: OpenItem | None = None
        self._reason: FinishReason | None = None
        self._sequence = 0
        self._words: _Words | None = None

    def feed(self, event: Event) -> list[Json]:
        """The events that this one comes to, often none."""
        return self._numbered(self._told(event))

    def words(self, text: str) -> bytes:
        """More text of the open message, as a frame; nothing where `feed` has to open one first."""
        message = self._open
        if not isinstance(message, OpenMessage):
            return b""
        if self._words is None or self._words.message is not message:
            self._words = _Words(message)
        message.take(text)
        self._sequence += 1
        return self._words.frame(self._sequence - 1, text)

    def ping(self) -> list[Json]:
        """An event that says nothing new, for clients that take silence for death."""
        return self._numbered([self._snapshot("response.in_progress", Outcome("in_progress"))])

    def _told(self, event: Event) -> list[Json]:
        match event:
            case Accepted():
                begun = Outcome("in_progress")
                events = [
                    self._snapshot("response.created", begun),
                    self._snapshot("response.in_progress", begun),
                ]
            case TextDelta():
                events = self._text(event)
            case ReasoningDelta():
                events = self._reasoning(event)
            case ToolCallStarted() | ToolCallDelta() | ToolCallFinished():
                events = self._call(event)
            case ChoiceFinished():
                events = self._finish(event.reason)
            case Finished() | Failed():
                events = self._end(event)
            case _:
                events = []
        return events

    def _text(self, event: TextDelta) -> list[Json]:
        if not (event.text or event.scores):
            return []
        opened: list[Json] = []
        message = self._open
        if not isinstance(message, OpenMessage):
            message = OpenMessage(self._header.identifier, self._next_index())
            opened = self._begin(message)
        return [*opened, *message.write(event.text, event.scores)]

    def _reasoning(self, event: ReasoningDelta) -> list[Json]:
        if not event.text:
            return []
        opened: list[Json] = []
        reasoning = self._open
        if not isinstance(reasoning, OpenReasoning):
            sealed = self._echo.seals_reasoning
            reasoning = OpenReasoning(self._header.identifier, self._next_index(), sealed=sealed)
            opened = self._begin(reasoning)
        return [*opened, *reasoning.write(event.text)]

    def _call(self, event: ToolCallStarted | ToolCallDelta | ToolCallFinished) -> list[Json]:
        if isinstance(event, ToolCallStarted):
            index = self._next_index()
            return self._begin(OpenCall(self._header.identifier, index, event.identifier, event.name))
        if isinstance(event, ToolCallFinished):
            return self._close(complete=True)
        if isinstance(self._open, OpenCall) and event.arguments:
            return self._open.write(event.arguments)
        return []

    def _finish(self, reason: FinishReason) -> list[Json]:
        self._reason = reason
        complete = reason != "length" and not isinstance(self._open, OpenCall)
        closed = self._close(complete=complete)
        silent = all(item["type"] == "reasoning" for item in self._output)
        if not self._output or (silent and reason != "length"):
            # Clients take a response without any words or calls for a broken one.
            message = OpenMessage(self._header.identifier, self._next_index())
            closed += [*self._begin(message), *self._close(complete=reason != "length")]
        return closed

    def _end(self, event: Finished | Failed) -> list[Json]:
        if isinstance(event, Failed):
            broken = () if self._open is None else (self._open.item("incomplete"),)
            output = (*self._output, *broken)
            if isinstance(event.error, Cancelled):
                outcome = Outcome("cancelled", output)
            else:
                outcome = Outcome("failed", output, error=error_shape(event.error))
            kind = "response.failed"
        elif self._reason == "length":
            outcome, kind = Outcome("incomplete", tuple(self._output), event.usage), "response.incomplete"
        else:
            completed_at = self._header.created + int(event.timings.total_seconds)
            outcome = Outcome("completed", tuple(self._output), event.usage, completed_at)
            kind = "response.completed"
        self.final = response_shape(self._header, self._echo, outcome)
        return [{"type": kind, "response": self.final}]

    def _next_index(self) -> int:
        return len(self._output) + (self._open is not None)

    def _begin(self, item: OpenItem) -> list[Json]:
        # What comes after an open call means that the call broke off.
        closed = self._close(complete=not isinstance(self._open, OpenCall))
        self._open = item
        return [*closed, *item.opening()]

    def _close(self, *, complete: bool) -> list[Json]:
        item, self._open = self._open, None
        if item is None:
            return []
        events = item.closing(complete=complete)
        self._output.append(item.item("completed" if complete else "incomplete"))
        return events

    def _snapshot(self, kind: str, outcome: Outcome) -> Json:
        return {"type": kind, "response": response_shape(self._header, self._echo, outcome)}

    def _numbered(self, events: list[Json]) -> list[Json]:
        numbered: list[Json] = []
        for event in events:
            numbered.append(_numbered_as(event, self._sequence))
            self._sequence += 1
        return numbered


class _Words:
    """Frames of more text of one message: all but the number and the text is encoded once."""

    def __init__(self, message: OpenMessage) -> None:
        self.message = message
        pattern = _numbered_as(message.pattern(Splice.MARK), 0)
        number = b'"sequence_number":'
        self._head, _, rest = _frames([pattern]).partition(number + b"0")
        self._head += number
        self._rest = Splice(rest)

    def frame(self, number: int, text: str) -> bytes:
        """The frame of this text."""
        return b"%b%d%b" % (self._head, number, self._rest.frame(text))


class ResponseStream:
    """A response as server-sent events. It ends with its last event, without a further marker."""

    def __init__(self, header: Header, echo: Echo) -> None:
        self._events = ResponseEvents(header, echo)

    @property
    def ping(self) -> bytes:
        """A further `response.in_progress`: some clients' timers are not reset by a comment."""
        return _frames(self._events.ping())

    def feed(self, event: Event) -> bytes:
        """The bytes that this event adds to the stream, often none."""
        if isinstance(event, TextDelta) and event.text and not event.scores:
            frame = self._events.words(event.text)
            if frame:
                return frame
        return _frames(self._events.feed(event))


def _numbered_as(event: Json, number: int) -> Json:
    return {"type": event["type"], "sequence_number": number, **event}


def event_text(event: Json) -> bytes:
    """An event as JSON on one line, by Unicode's idea of lines too: many clients split by that."""
    return one_line(_encode(event))


def error_event(error: AllodError) -> Json:
    """What a WebSocket tells of a turn that was refused."""
    about = {"type": error.kind, "code": error.code, "message": error.message, "param": error.param}
    return {"type": "error", "status": error.status, "error": about}


def _frames(events: Iterable[Json]) -> bytes:
    return b"".join(named_frame(str(event["type"]), _encode(event)) for event in events)
