"""Events to streamed answers.

What is constant in a stream is encoded once; a token costs one JSON string and one formatting.
"""

from abc import ABC, abstractmethod

import msgspec

from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from allod.core.usage import Usage
from allod.wire.dialect import Header
from allod.wire.openai.errors import error_body
from allod.wire.openai.shapes import chat_logprobs, completion_logprobs, head, usage_shape
from allod.wire.sse import DONE, Splice, comment, frame, one_line

_encode = msgspec.json.Encoder().encode
_Structure = ReasoningDelta | ToolCallStarted | ToolCallDelta


class _Chunks(ABC):
    """The frame of every chunk, and the events that both dialects stream alike.

    With `include_usage` every chunk says `"usage":null` and one more, without choices, has the counts;
    without it no chunk mentions usage. A stream that fails ends with an error event and no `[DONE]`.
    """

    ping = comment("ping")

    def __init__(self, header: Header, prefix: str, kind: str, *, include_usage: bool) -> None:
        opened = _encode(head(header, prefix, kind)).removesuffix(b"}")
        self._before = b"data: " + opened + b',"choices":['
        self._after = (b'],"usage":null' if include_usage else b"]") + b"}\n\n"
        self._choices = header.choices
        self._include_usage = include_usage
        self._splices: dict[int, Splice] = {}

    def feed(self, event: Event) -> bytes:
        """The bytes that this event adds to the stream, often none."""
        match event:
            case TextDelta() | ReasoningDelta() | ToolCallStarted() | ToolCallDelta():
                return self._delta(event)
            case Accepted():
                return b"".join(map(self._opening, range(self._choices)))
            case ChoiceFinished():
                return self._end(event)
            case Finished():
                return self._usage(event.usage) + DONE
            case Failed():
                return frame(error_body(event.error))
            case _:
                return b""

    def _delta(self, event: TextDelta | _Structure) -> bytes:
        if not isinstance(event, TextDelta):
            return one_line(self._structure(event))
        if not event.scores:
            return self._words(event.choice, event.text) if event.text else b""
        return one_line(self._text(event))

    def _words(self, choice: int, text: str) -> bytes:
        """Words without log probabilities, as nearly all events are."""
        splice = self._splices.get(choice)
        if splice is None:
            splice = self._splices[choice] = Splice(self._text(TextDelta(choice, Splice.MARK)))
        return splice.frame(text)

    def _usage(self, usage: Usage) -> bytes:
        if not self._include_usage:
            return b""
        return self._before + b'],"usage":' + _encode(usage_shape(usage)) + b"}\n\n"

    @abstractmethod
    def _opening(self, choice: int) -> bytes: ...

    def _structure(self, event: _Structure) -> bytes:
        """Thoughts and calls, where the dialect has a place for them."""
        return b""

    @abstractmethod
    def _text(self, delta: TextDelta) -> bytes: ...

    @abstractmethod
    def _end(self, end: ChoiceFinished) -> bytes: ...


class ChatChunks(_Chunks):
    """An answer as `chat.completion.chunk` events. The first chunk of each choice gives its role."""

    def __init__(self, header: Header, *, include_usage: bool) -> None:
        super().__init__(header, "chatcmpl-", "chat.completion.chunk", include_usage=include_usage)

    def _opening(self, choice: int) -> bytes:
        return self._chunk(choice, b'{"role":"assistant","content":""}')

    def _text(self, delta: TextDelta) -> bytes:
        logprobs = _encode(chat_logprobs(delta.scores)) if delta.scores else b"null"
        return self._chunk(delta.choice, b'{"content":%b}' % _encode(delta.text), logprobs)

    def _structure(self, event: _Structure) -> bytes:
        match event:
            case ReasoningDelta():
                return self._chunk(event.choice, b'{"reasoning_content":%b}' % _encode(event.text))
            case ToolCallStarted():
                call = b'"id":%b,"type":"function","function":{"name":%b,"arguments":""}' % (
                    _encode(event.identifier), _encode(event.name),
                )  # fmt: skip
            case ToolCallDelta():
                call = b'"function":{"arguments":%b}' % _encode(event.arguments)
        return self._chunk(event.choice, b'{"tool_calls":[{"index":%d,%b}]}' % (event.index, call))

    def _end(self, end: ChoiceFinished) -> bytes:
        return self._chunk(end.choice, b"{}", reason=_encode(end.reason))

    def _chunk(self, choice: int, delta: bytes, logprobs: bytes = b"null", reason: bytes = b"null") -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}%b' % (
            self._before, choice, delta, logprobs, reason, self._after,
        )  # fmt: skip


class CompletionChunks(_Chunks):
    """An answer as streamed `text_completion` objects."""

    def __init__(self, header: Header, *, include_usage: bool) -> None:
        super().__init__(header, "cmpl-", "text_completion", include_usage=include_usage)
        self._lengths = [0] * header.choices

    def _opening(self, choice: int) -> bytes:
        return b""

    def _words(self, choice: int, text: str) -> bytes:
        start = self._lengths[choice]
        frame = super()._words(choice, text)
        self._lengths[choice] = start + len(text)
        return frame

    def _text(self, delta: TextDelta) -> bytes:
        start = self._lengths[delta.choice]
        self._lengths[delta.choice] = start + len(delta.text)
        logprobs = _encode(completion_logprobs([delta], start)) if delta.scores else b"null"
        return self._chunk(delta.choice, _encode(delta.text), logprobs)

    def _end(self, end: ChoiceFinished) -> bytes:
        return self._chunk(end.choice, b'""', reason=_encode(end.reason))

    def _chunk(self, choice: int, text: bytes, logprobs: bytes = b"null", reason: bytes = b"null") -> bytes:
        return b'%b{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b}%b' % (
            self._before, text, choice, logprobs, reason, self._after,
        )  # fmt: skip
