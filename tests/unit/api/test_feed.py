"""A feed hands over every event, and lets go of the iterator in every way it can end."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from allod.api.feed import OpenFeeds
from allod.core.errors import Busy, ClientTooSlow, ModelUnavailable
from allod.core.events import Accepted, Event, Failed, Finished, TextDelta
from allod.core.usage import Timings, Usage

FINISHED = Finished(Usage(1, 1), Timings(None, None, 0.0))


class Script:
    """An event stream that waits where it is told to, and notes when it is let go."""

    def __init__(self, *steps: Event | Exception | asyncio.Event) -> None:
        self.steps = steps
        self.reached = asyncio.Event()
        self.released = 0

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            for step in self.steps:
                if isinstance(step, asyncio.Event):
                    self.reached.set()
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            await asyncio.sleep(0)  # cleaning up may take a turn of the loop
            self.released += 1


class Connection:
    """The client's side: sends its body, then nothing until it leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self._bodies = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive(self) -> Message:
        if self._bodies:
            return self._bodies.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_events_that_are_ready_come_together() -> None:
    """A slow reader gets one batch, in order, and nothing after the last event."""
    script = Script(Accepted(1), TextDelta(0, "a"), TextDelta(0, "b"), FINISHED, TextDelta(0, "late"))
    async with OpenFeeds().open(script.events(), Connection().receive) as feed:
        assert await feed.take() == [Accepted(1), TextDelta(0, "a"), TextDelta(0, "b"), FINISHED]
    assert script.released == 1


async def test_silence_gives_an_empty_batch() -> None:
    """A timeout loses no event."""
    gate = asyncio.Event()
    script = Script(Accepted(1), gate, FINISHED)
    async with OpenFeeds().open(script.events(), Connection().receive) as feed:
        assert await feed.take() == [Accepted(1)]
        assert await feed.take(0.001) == []
        assert await feed.take(-1.0) == []
        gate.set()
        assert await feed.take() == [FINISHED]


async def test_an_error_comes_after_the_events_before_it() -> None:
    """What the iterator raises is raised to the taker, last."""
    script = Script(Accepted(1), Busy("full"))
    async with OpenFeeds().open(script.events(), Connection().receive) as feed:
        assert await feed.take() == [Accepted(1)]
        with pytest.raises(Busy):
            await feed.take()


async def test_an_end_without_a_last_event_is_a_fault() -> None:
    """A backend that just stops is not taken for one that finished."""
    async with OpenFeeds().open(Script(Accepted(1)).events(), Connection().receive) as feed:
        await feed.take()
        with pytest.raises(RuntimeError, match="without Finished"):
            await feed.take()


async def test_a_client_that_leaves_closes_a_silent_iterator() -> None:
    """Nobody has to take for the work to end."""
    connection, script = Connection(), Script(asyncio.Event())
    async with OpenFeeds().open(script.events(), connection.receive) as feed:
        await script.reached.wait()
        connection.left.set()
        with pytest.raises(ClientDisconnect):
            await feed.take()
    assert script.released == 1


async def test_leaving_the_block_early_closes_the_iterator() -> None:
    """The iterator is let go, once and completely, before the block is left."""
    script = Script(Accepted(1), asyncio.Event())
    async with OpenFeeds().open(script.events(), Connection().receive) as feed:
        await feed.take()
    assert script.released == 1


async def test_a_cancelled_taker_closes_the_iterator() -> None:
    """Cancelling the request's task leaves no work behind."""
    script = Script(Accepted(1), asyncio.Event())

    async def serve() -> None:
        async with OpenFeeds().open(script.events(), Connection().receive) as feed:
            while True:
                await feed.take()

    task = asyncio.create_task(serve())
    await script.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert script.released == 1


async def test_an_iterator_that_cleans_up_is_not_cancelled_again() -> None:
    """Ended, left by the client and closed, all at once: cleaning up runs to its end, undisturbed."""
    connection, cleaning, clean = Connection(), asyncio.Event(), asyncio.Event()
    tidied: list[bool] = []

    async def events() -> AsyncGenerator[Event, None]:
        try:
            yield Accepted(1)
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await clean.wait()
            tidied.append(True)

    async with OpenFeeds().open(events(), connection.receive) as feed:
        await feed.take()
        feed.end(ModelUnavailable("going"))
        await cleaning.wait()
        connection.left.set()
        asyncio.get_running_loop().call_later(0.01, clean.set)
    assert tidied == [True]


async def test_a_shutdown_ends_open_feeds_and_those_that_still_come() -> None:
    """Events so far stay, then the error is the last event; an answer that is complete stays complete."""
    feeds, error = OpenFeeds(), ModelUnavailable("going")
    open_script, done_script = Script(Accepted(1), asyncio.Event()), Script(FINISHED)
    async with (
        feeds.open(open_script.events(), Connection().receive) as one,
        feeds.open(done_script.events(), Connection().receive) as two,
    ):
        await open_script.reached.wait()
        feeds.end_all(error)
        feeds.end_all(error)
        assert await one.take() == [Accepted(1), Failed(error)]
        assert await two.take() == [FINISHED]
    async with feeds.open(Script(asyncio.Event()).events(), Connection().receive) as late:
        assert await late.take() == [Failed(error)]
    assert open_script.released == 1


async def test_what_a_client_leaves_unread_is_bounded() -> None:
    """Full, the answer ends: what there is stays, then the error; the iterator is let go at once."""
    script = Script(Accepted(1), *[TextDelta(0, "x")] * 100, asyncio.Event())
    async with OpenFeeds(max_unread=20).open(script.events(), Connection().receive) as feed:
        async with asyncio.timeout(5):
            while not script.released:  # noqa: ASYNC110 - letting go has no event of its own
                await asyncio.sleep(0)
        batch = await feed.take()
    assert len(batch) == 21
    assert batch[:20] == [Accepted(1), *[TextDelta(0, "x")] * 19]
    assert isinstance(batch[-1], Failed)
    assert isinstance(batch[-1].error, ClientTooSlow)
    assert script.released == 1


async def test_events_that_come_at_once_are_not_unread() -> None:
    """Who waits for events gets a turn before they count as unread, however many come in one turn."""
    script = Script(Accepted(1), *[TextDelta(0, "x")] * 100, FINISHED)
    taken: list[Event] = []
    async with OpenFeeds(max_unread=20).open(script.events(), Connection().receive) as feed:
        while not taken or taken[-1] != FINISHED:
            taken += await feed.take()
    assert len(taken) == 102


async def test_one_step_is_one_batch_however_many_choices_it_has() -> None:
    """What is said without a pause is taken at once, so it leaves in one write; after a pause, by itself."""
    pause = asyncio.Event()
    script = Script(Accepted(1), pause, *[TextDelta(choice, "x") for choice in range(4)], asyncio.Event())
    async with OpenFeeds().open(script.events(), Connection().receive) as feed:
        assert await feed.take() == [Accepted(1)]
        taking = asyncio.create_task(feed.take())
        await script.reached.wait()
        pause.set()
        assert await taking == [TextDelta(choice, "x") for choice in range(4)]
