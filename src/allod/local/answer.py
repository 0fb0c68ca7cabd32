"""What a worker says about one request, turned into the request's events. Pure: time comes in."""

from collections.abc import Sequence

import msgspec

from allod.core.errors import InternalFailure
from allod.core.events import Event, Finished, Progress
from allod.core.ids import SequenceId
from allod.core.messages import Emission, PrefillProgress
from allod.core.usage import Timings, Usage
from allod.local.link import Letter
from allod.local.stream import ChoiceStream


class Heard(msgspec.Struct, frozen=True):
    """What one letter came to, and the sequence that the worker need not go on with, if any."""

    events: Sequence[Event]
    cancel: SequenceId | None = None


class Answer:
    """Follows one admitted request to its end.

    Args:
        streams: one per choice, by the sequence that feeds it.
        prompt_tokens: length of the rendered prompt.
        started_seconds: when the request came in.
    """

    def __init__(
        self, streams: dict[SequenceId, ChoiceStream], prompt_tokens: int, started_seconds: float
    ) -> None:
        self._streams = streams
        self._unfinished = len(streams)
        self._prompt_tokens = prompt_tokens
        self._started_seconds = started_seconds
        self._begun_seconds: float | None = None
        self._first_token_seconds: float | None = None
        self._cached_tokens: int | None = None

    @property
    def finished(self) -> bool:
        """True once every choice has ended."""
        return self._unfinished == 0

    def feed(self, letter: Letter, now_seconds: float) -> Heard:
        """The events of one letter.

        Raises:
            InternalFailure: a letter that has no place after the admission.
        """
        self._begun_seconds = self._begun_seconds or now_seconds
        match letter:
            case Emission():
                self._first_token_seconds = self._first_token_seconds or now_seconds
                return self._hear(letter)
            case PrefillProgress(done_tokens=done, total_tokens=total, cached_tokens=cached):
                # Choices that are read one after another each say what they reused: the first one counts.
                self._cached_tokens = cached if self._cached_tokens is None else self._cached_tokens
                return Heard((Progress(done, total),))
            case _:
                raise InternalFailure(f"The worker said {type(letter).__name__} in the middle of an answer.")

    def _hear(self, emission: Emission) -> Heard:
        stream = self._streams[emission.sequence]
        if stream.finished:
            return Heard(())
        events = stream.feed(emission)
        if not stream.finished:
            return Heard(events)
        self._unfinished -= 1
        cut = stream.stopped_itself and emission.finish is None
        return Heard(events, emission.sequence if cut else None)

    def conclude(self, now_seconds: float) -> Finished:
        """The last event.

        A request counts as queued until the first sign of work on it: a chunk of its prompt that is
        done, or a token.
        """
        return Finished(
            Usage(
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens or 0,
                completion_tokens=sum(stream.completion_tokens for stream in self._streams.values()),
                reasoning_tokens=sum(stream.reasoning_tokens for stream in self._streams.values()),
            ),
            Timings(
                queued_seconds=self._since_start(self._begun_seconds),
                first_token_seconds=self._since_start(self._first_token_seconds),
                total_seconds=now_seconds - self._started_seconds,
            ),
        )

    def _since_start(self, moment_seconds: float | None) -> float | None:
        return None if moment_seconds is None else moment_seconds - self._started_seconds
