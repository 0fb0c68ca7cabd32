"""Events to a streamed message: blocks with rising indices, one open at a time."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Event,
    Failed,
    Finished,
    Progress,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.core.ids import RequestId
from allod.core.usage import Usage
from allod.wire.anthropic.errors import error_body
from allod.wire.anthropic.shapes import Signature, ending, head, usage_shape
from allod.wire.anthropic.turns import their_call
from allod.wire.dialect import Header
from allod.wire.sse import Splice, named_frame

_encode = msgspec.json.Encoder().encode

_NO_INPUT: Mapping[str, object] = {}

Kind = Literal["text", "thinking", "tool_use"]


class MessageEvents:
    """An answer as the events of a message stream.

    A stream that fails ends with an error event and no `message_stop`. A call that was cut off gets no
    `content_block_stop`, so that no client takes it for a finished one.
    """

    def __init__(self, header: Header, request: RequestId) -> None:
        self._header = header
        self._request = request
        self._index = -1
        self._open: Kind | None = None
        self._signature = Signature()
        self._end: ChoiceFinished | None = None
        self._splices: dict[str, Splice] = {}

    @property
    def ping(self) -> bytes:
        """A real event: clients that watch for silence do not count comments."""
        return _frame("ping", {})

    def feed(self, event: Event) -> bytes:
        """The bytes of one event; possibly none."""
        match event:
            case TextDelta(text=text):
                return self._text(text) if text else b""
            case ToolCallDelta(arguments=piece):
                return self._delta("input_json_delta", "partial_json", piece) if piece else b""
            case ReasoningDelta(text=text):
                return self._thinking(text) if text else b""
            case ToolCallStarted():
                return self._call(event)
            case ToolCallFinished():
                return self._close()
            case _:
                return self._frame_of(event)

    def _frame_of(self, event: Accepted | Progress | ChoiceFinished | Finished | Failed) -> bytes:
        """The events that are about the message as a whole."""
        match event:
            case Accepted():
                return self._start(event) + self.ping
            case ChoiceFinished():
                self._end = event
                return b"" if self._open == "tool_use" else self._close()
            case Finished():
                return self._stop(event.usage)
            case Failed():
                return named_frame("error", error_body(event.error, self._request))
            case Progress():
                return b""

    def _start(self, accepted: Accepted) -> bytes:
        """What will be reused is told as it looks now; the end has the count."""
        cached_tokens = accepted.prefix.cached_tokens if accepted.prefix else 0
        usage = usage_shape(Usage(accepted.prompt_tokens, 0, cached_tokens))
        message = head(self._header) | {"content": ()} | ending(None) | {"usage": usage}
        return _frame("message_start", {"message": message})

    def _text(self, text: str) -> bytes:
        opening = self._ensure("text", {"text": ""})
        return opening + self._delta("text_delta", "text", text)

    def _thinking(self, text: str) -> bytes:
        opening = self._ensure("thinking", {"thinking": "", "signature": ""})
        self._signature.feed(text)
        return opening + self._delta("thinking_delta", "thinking", text)

    def _call(self, call: ToolCallStarted) -> bytes:
        block = {"id": their_call(call.identifier), "name": call.name, "input": _NO_INPUT}
        return self._begin("tool_use", block)

    def _ensure(self, kind: Kind, block: Mapping[str, object]) -> bytes:
        return b"" if self._open == kind else self._begin(kind, block)

    def _begin(self, kind: Kind, block: Mapping[str, object]) -> bytes:
        closing = self._close()
        self._index += 1
        self._open = kind
        self._splices.clear()
        started = {"index": self._index, "content_block": {"type": kind, **block}}
        return closing + _frame("content_block_start", started)

    def _delta(self, kind: str, name: str, text: str) -> bytes:
        """More of the open block; all but the text is the same for all deltas of a kind."""
        splice = self._splices.get(kind)
        if splice is None:
            delta = {"type": kind, name: Splice.MARK}
            splice = Splice(_frame("content_block_delta", {"index": self._index, "delta": delta}))
            self._splices[kind] = splice
        return splice.frame(text)

    def _close(self) -> bytes:
        """The end of the block that is open, if one is."""
        if self._open is None:
            return b""
        signed = b""
        if self._open == "thinking":
            signed = self._delta("signature_delta", "signature", self._signature.text())
            self._signature = Signature()
        self._open = None
        return signed + _frame("content_block_stop", {"index": self._index})

    def _stop(self, usage: Usage) -> bytes:
        last = {"delta": ending(self._end), "usage": usage_shape(usage)}
        return _frame("message_delta", last) + _frame("message_stop", {})


def _frame(kind: str, fields: Mapping[str, object]) -> bytes:
    return named_frame(kind, _encode({"type": kind, **fields}))
