"""From the bytes of an answer to its figures. Done after the clock has stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from allod.bench.exchange import MALFORMED, Reply
from allod.wire.sse import SseParser

UNFINISHED = "unfinished"
ERROR_EVENT = "error event"
_DONE = b"[DONE]"
_OK = 200
_DIGITS = 6
_SAID_BYTES = 300


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer as the client saw it. Times are seconds from the start of the sample it belongs to.

    Attributes:
        model: who was asked.
        failure: the kind of failure; empty for a whole answer.
        said: with a failure, the beginning of what the server said about it.
        status: of HTTP; 0 when there was none.
        sent_seconds: when the request left, the connection being there; None when there was none.
        connect_seconds: how long the connection took.
        ended_seconds: when the answer ended.
        arrivals_seconds: when each delta with text came, thoughts included.
        prompt_tokens: by the server's word; None when it gave none.
        completion_tokens: by the server's word; None when it gave none.
        cached_tokens: by the server's word; None when it gave none.
    """

    model: str
    failure: str
    said: str
    status: int
    sent_seconds: float | None
    connect_seconds: float
    ended_seconds: float
    arrivals_seconds: tuple[float, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None

    @property
    def tokens(self) -> int:
        """Tokens of the answer: the server's count, else one for each delta."""
        return len(self.arrivals_seconds) if self.completion_tokens is None else self.completion_tokens

    @property
    def tokens_per_delta(self) -> float:
        """How many tokens a delta carries on average; 1 where each token comes by itself."""
        return self.tokens / len(self.arrivals_seconds) if self.arrivals_seconds else 0.0

    @property
    def first_seconds(self) -> float | None:
        """From the request to the first delta with text."""
        if not self.arrivals_seconds or self.sent_seconds is None:
            return None
        return self.arrivals_seconds[0] - self.sent_seconds

    @property
    def gaps_seconds(self) -> tuple[float, ...]:
        """Between deltas."""
        return tuple(later - earlier for earlier, later in pairwise(self.arrivals_seconds))

    @property
    def decode_tokens_per_second(self) -> float | None:
        """Tokens after the first delta over the time they took.

        The first delta starts the clock and counts for nothing, however many tokens it carries.
        """
        arrivals = self.arrivals_seconds
        if len(arrivals) < 2 or arrivals[-1] <= arrivals[0]:
            return None
        return self.tokens_per_delta * (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])

    @property
    def end_to_end_tokens_per_second(self) -> float | None:
        """All tokens over the time from the request to the last delta."""
        if not self.arrivals_seconds or self.sent_seconds is None:
            return None
        return self.tokens / (self.arrivals_seconds[-1] - self.sent_seconds)


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class Heard:
    """What the events of a stream say, gathered event by event.

    Attributes:
        arrivals: times of deltas with text, as they were fed.
        texts: what was said, thoughts left out.
        failure: `malformed`, `error event`, or empty.
        said: the beginning of the event that failed.
        is_finished: an end was announced.
    """

    arrivals: list[float] = field(default_factory=list[float])
    texts: list[str] = field(default_factory=list[str])
    usage: _Usage = field(default_factory=_Usage)
    failure: str = ""
    said: str = ""
    is_finished: bool = False

    @property
    def text(self) -> str:
        """What was said."""
        return "".join(self.texts)

    def take(self, when: float, event: bytes) -> None:
        """Take in the data of one event."""
        if event == _DONE:
            self.is_finished = True
            return
        try:
            chunk = _decoder.decode(event)
        except msgspec.MsgspecError:
            self._fail(MALFORMED, event)
            return
        if bytes(chunk.error) != b"null":
            self._fail(ERROR_EVENT, bytes(chunk.error))
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            self.is_finished |= choice.finish_reason is not None
            delta = choice.delta
            if delta.content:
                self.texts.append(delta.content)
            if delta.content or delta.reasoning_content or delta.reasoning:
                self.arrivals.append(when)

    def _fail(self, kind: str, about: bytes) -> None:
        self.failure, self.said = kind, _beginning(about)


def hear(pieces: Sequence[tuple[float, bytes]]) -> Heard:
    """Read a stream; an event arrived when its last piece did, so the cut into pieces moves only times."""
    parser, heard = SseParser(), Heard()
    for when, piece in pieces:
        for event in parser.feed(piece):
            heard.take(when, event)
    return heard


def answer_of(reply: Reply, heard: Heard, model: str, origin: float) -> Answer:
    """The figures of one answer.

    Args:
        reply: the bytes and the times.
        heard: what `hear` made of them.
        model: who was asked.
        origin: the start of the sample, in seconds of `time.perf_counter`.
    """

    def since(moment: float) -> float:
        return round(moment - origin, _DIGITS)

    details = heard.usage.prompt_tokens_details
    return Answer(
        model=model,
        failure=_failure(reply, heard),
        said=_beginning(reply.body) if reply.status not in (0, _OK) else heard.said,
        status=reply.status,
        sent_seconds=None if reply.sent is None else since(reply.sent),
        connect_seconds=round((reply.ended if reply.sent is None else reply.sent) - reply.opened, _DIGITS),
        ended_seconds=since(reply.ended),
        arrivals_seconds=tuple(map(since, heard.arrivals)),
        prompt_tokens=heard.usage.prompt_tokens,
        completion_tokens=heard.usage.completion_tokens,
        cached_tokens=details.cached_tokens if details else None,
    )


def _failure(reply: Reply, heard: Heard) -> str:
    if reply.status not in (0, _OK):
        return f"http {reply.status}"
    if reply.failure or heard.failure:
        return reply.failure or heard.failure
    return "" if heard.is_finished else UNFINISHED


def _beginning(data: bytes) -> str:
    return data[:_SAID_BYTES].decode(errors="replace")
