"""The Backend port's laws, held by every implementation.

To put another backend under them, subclass `BackendContract` and give it the `bench` fixture.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.scaffolding.local_house import CARD, ask, drain, first, house

from allod.core.card import ModelCard
from allod.core.errors import AllodError, ContextLengthExceeded
from allod.core.events import Accepted, ChoiceFinished, Event, Failed, Finished, Progress, TextDelta
from allod.core.ports import Backend
from allod.core.request import GenerationRequest
from allod.core.usage import Timings, Usage
from allod.testing.backend import Act, FakeBackend

ENDLESS = 4000


@dataclass(frozen=True)
class Bench:
    """A backend that answers with `max_tokens` letters, slowly enough to be closed half way.

    Attributes:
        backend: the implementation.
        active: how many requests it is busy with; 0 when nothing is held for any.
    """

    backend: Backend
    active: Callable[[], int]

    def stream(self, request: GenerationRequest | None = None) -> AsyncIterator[Event]:
        return self.backend.generate(request or ask(), CARD)

    async def rests(self) -> None:
        async with asyncio.timeout(20):
            while self.active():  # noqa: ASYNC110 - a backend has no event for this
                await asyncio.sleep(0.005)


class BackendContract:
    """The laws."""

    async def test_order(self, bench: Bench) -> None:
        """Accepted, then progress, text and ends of choices, then exactly one Finished."""
        events = await drain(bench.stream(ask(choices=2)))
        assert isinstance(events[0], Accepted)
        assert isinstance(events[-1], Finished)
        middle = events[1:-1]
        assert all(isinstance(event, Progress | TextDelta | ChoiceFinished) for event in middle)
        ends = [event.choice for event in middle if isinstance(event, ChoiceFinished)]
        assert sorted(ends) == [0, 1]

    async def test_nothing_of_a_choice_comes_after_its_end(self, bench: Bench) -> None:
        """A choice's end is its last event."""
        ended: set[int] = set()
        for event in await drain(bench.stream(ask(choices=3))):
            if isinstance(event, TextDelta | ChoiceFinished):
                assert event.choice not in ended
            if isinstance(event, ChoiceFinished):
                ended.add(event.choice)

    async def test_usage_adds_up(self, bench: Bench) -> None:
        """Prompt tokens are those of Accepted, completion tokens those of all choices."""
        events = await drain(bench.stream(ask(choices=2, max_tokens=6)))
        accepted, last = events[0], events[-1]
        assert isinstance(accepted, Accepted)
        assert isinstance(last, Finished)
        assert last.usage == Usage(accepted.prompt_tokens, 12)
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert len(text) == 12

    async def test_what_can_never_work_is_raised_before_the_first_event(self, bench: Bench) -> None:
        """A 4xx is an exception of the first step, not an event."""
        with pytest.raises(ContextLengthExceeded):
            await anext(bench.stream(ask(max_tokens=CARD.context_tokens)))
        await bench.rests()

    async def test_closing_cancels(self, bench: Bench) -> None:
        """A stream closed half way leaves nothing behind, and the next request is answered."""
        stream = bench.stream(ask(max_tokens=ENDLESS))
        await first(stream, TextDelta)
        assert bench.active() == 1
        await stream.aclose()  # type: ignore[attr-defined]
        await bench.rests()
        assert isinstance((await drain(bench.stream()))[-1], Finished)

    async def test_cancelling_the_reader_cancels(self, bench: Bench) -> None:
        """So does the cancellation of the task that reads it."""
        stream = bench.stream(ask(max_tokens=ENDLESS))
        await first(stream, TextDelta)
        reader = asyncio.create_task(drain(stream))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await bench.rests()

    async def test_a_stream_that_nobody_reads_does_nothing(self, bench: Bench) -> None:
        """Nothing runs before the first event is asked for."""
        stream = bench.stream()
        assert bench.active() == 0
        await stream.aclose()  # type: ignore[attr-defined]

    async def test_requests_do_not_mix(self, bench: Bench) -> None:
        """Requests at the same time each have their own, complete answer."""
        lengths = range(3, 9)
        answers = await asyncio.gather(*(drain(bench.stream(ask(max_tokens=length))) for length in lengths))
        for length, events in zip(lengths, answers, strict=True):
            text = "".join(event.text for event in events if isinstance(event, TextDelta))
            assert text == "abcdefghij"[:length]
        await bench.rests()


class TestLocalBackend(BackendContract):
    """LocalBackend over a real process."""

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with house(tmp_path, "--step-seconds", "0.002") as at:
            await at.residency.load(CARD)
            yield Bench(at.backend, lambda: sum(model.requests for model in at.residency.hosted()))


class TestFakeBackend(BackendContract):
    """FakeBackend with a script of letters."""

    @pytest.fixture
    async def bench(self) -> Bench:
        backend = FakeBackend(_letters)
        return Bench(backend, lambda: backend.active)


def _letters(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
    wanted = request.max_tokens or 1
    if wanted >= card.context_tokens:
        return [ContextLengthExceeded("too long")]
    acts: list[Act] = [Accepted(5)]
    for choice in range(request.choices):
        acts += [TextDelta(choice, chr(97 + index % 26)) for index in range(min(wanted, 26))]
        acts += [asyncio.Event()] if wanted == ENDLESS else []
        acts.append(ChoiceFinished(choice, "length"))
    return [*acts, Finished(Usage(5, wanted * request.choices), Timings(None, None, 0.0))]


async def test_the_fake_fails_where_its_script_says() -> None:
    """An error after the first event is the last event; it counts as finished, not as cancelled."""
    error = AllodError("broke")
    backend = FakeBackend(lambda *_: [Accepted(1), error])
    assert await drain(backend.generate(ask(), CARD)) == [Accepted(1), Failed(error)]
    assert (backend.active, backend.cancelled) == (0, 0)


async def test_the_fake_waits_where_its_script_says() -> None:
    """An event in the script holds the stream until it is set."""
    gate = asyncio.Event()
    backend = FakeBackend(lambda *_: [Accepted(1), gate, TextDelta(0, "a")])
    stream = backend.generate(ask(), CARD)
    await anext(stream)
    waits = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert not waits.done()
    gate.set()
    assert await waits == TextDelta(0, "a")
    await stream.aclose()
    assert (backend.active, backend.cancelled, len(backend.requests)) == (0, 1, 1)
