"""Closing a stream, wherever the request is, leaves no lease and no sequence. The law of the room."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.scaffolding.local_house import CARD, House, ask, first, house

from allod.core.events import Accepted, Progress, TextDelta

LONG = 4000


async def _cancel(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _works_and_is_clean(at: House) -> None:
    await at.is_clean()
    assert await at.text() == "abcdefgh"
    await at.is_clean()


async def test_closed_while_decoding(tmp_path: Path) -> None:
    """A stream closed between two tokens."""
    async with house(tmp_path, "--step-seconds", "0.005") as at:
        stream = at.stream(ask(max_tokens=LONG, choices=3))
        await first(stream, TextDelta)
        await stream.aclose()
        await _works_and_is_clean(at)


async def test_cancelled_while_waiting_for_a_token(tmp_path: Path) -> None:
    """A consumer cancelled in the middle of `anext`."""
    async with house(tmp_path, "--step-seconds", "0.1") as at:
        stream = at.stream(ask(max_tokens=LONG))
        await first(stream, TextDelta)
        waits = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await _cancel(waits)
        await _works_and_is_clean(at)


async def test_closed_while_prefilling(tmp_path: Path) -> None:
    """A stream closed while its prompt is being read, chunk by chunk."""
    async with house(tmp_path, "--step-seconds", "0.01") as at:
        stream = at.stream(ask("x" * 4000, max_tokens=LONG))
        await first(stream, Progress)
        await stream.aclose()
        await _works_and_is_clean(at)


async def test_closed_in_the_queue(tmp_path: Path) -> None:
    """A stream closed while its request waits behind another one."""
    async with house(tmp_path, "--step-seconds", "0.01", "--rows", "1") as at:
        ahead = at.stream(ask(max_tokens=LONG))
        await first(ahead, TextDelta)
        queued = at.stream(ask(max_tokens=LONG))
        await first(queued, Accepted)
        (model,) = await at.residency.inspect()
        assert model.status is not None
        assert model.status.queued == 1
        await queued.aclose()
        await ahead.aclose()
        await _works_and_is_clean(at)


async def test_cancelled_before_it_is_admitted(tmp_path: Path) -> None:
    """A consumer cancelled after the submission went out and before the worker has answered it."""
    async with house(tmp_path, "--step-seconds", "0.01") as at:
        busy = at.stream(ask(max_tokens=LONG))
        await first(busy, TextDelta)
        (worker,) = at.pids_of(CARD.name)
        os.kill(worker, signal.SIGSTOP)
        try:
            waits = asyncio.ensure_future(anext(at.stream(ask(max_tokens=LONG))))
            await at.until(lambda: (model := at.hosted()) is not None and model.requests == 2)
            await _cancel(waits)
        finally:
            os.kill(worker, signal.SIGCONT)
        hosted = at.hosted()
        assert hosted is not None
        assert hosted.requests == 1
        await busy.aclose()
        await _works_and_is_clean(at)


@pytest.mark.parametrize("accept_wait_seconds", [0.0, 30.0])
async def test_cancelled_during_the_load(tmp_path: Path, accept_wait_seconds: float) -> None:
    """Consumers cancelled while the model loads, before and after Accepted; the load goes on."""
    os.mkfifo(tmp_path / "gate")
    flags = ("--gate", str(tmp_path / "gate"))
    async with house(tmp_path, *flags, accept_wait_seconds=accept_wait_seconds) as at:
        streams = [at.stream() for _ in range(3)]
        if accept_wait_seconds == 0.0:
            assert [await anext(stream) for stream in streams] == [Accepted(5)] * 3
        waits = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await at.until(lambda: (model := at.hosted()) is not None and model.requests == 3)
        for wait in waits:
            await _cancel(wait)
        hosted = at.hosted()
        assert hosted is not None
        assert (hosted.requests, hosted.phase) == (0, "loading")
        await asyncio.to_thread((tmp_path / "gate").write_text, "go")
        await _works_and_is_clean(at)
        assert at.starts_of("fable") == 1


async def test_closed_right_after_accepted(tmp_path: Path) -> None:
    """A stream closed at its first event."""
    async with house(tmp_path, "--step-seconds", "0.005") as at:
        await at.residency.load(CARD)
        for _ in range(20):
            stream = at.stream(ask(max_tokens=LONG))
            first = await anext(stream)
            assert isinstance(first, Accepted)
            assert first.prompt_tokens == 5
            await stream.aclose()
        await _works_and_is_clean(at)


async def test_cancelled_twice(tmp_path: Path) -> None:
    """A second cancellation, while the first one is being obeyed, loses nothing."""
    os.mkfifo(tmp_path / "gate")
    async with house(tmp_path, "--gate", str(tmp_path / "gate")) as at:
        waits = asyncio.ensure_future(anext(at.stream()))
        await at.until(lambda: (model := at.hosted()) is not None and model.requests == 1)
        waits.cancel()
        await asyncio.sleep(0)
        await _cancel(waits)
        await at.until(lambda: (model := at.hosted()) is not None and model.requests == 0)
        await asyncio.to_thread((tmp_path / "gate").write_text, "go")
        await _works_and_is_clean(at)


async def test_cancelled_at_any_moment(tmp_path: Path) -> None:
    """Requests cancelled at moments spread over their whole life: the house is clean afterwards."""
    async with house(tmp_path, "--step-seconds", "0.002", accept_wait_seconds=0.01) as at:

        async def consume(turns: int) -> None:
            task = asyncio.create_task(at.text(ask("y" * 40, max_tokens=20, choices=2)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(consume(turns) for turns in range(0, 120, 3)))
        await _works_and_is_clean(at)
        assert at.starts_of("fable") == 1


async def test_a_stop_string_cancels_its_choice_only(tmp_path: Path) -> None:
    """The choice that met its stop string ends in the worker; the events are complete."""
    async with house(tmp_path, "--step-seconds", "0.002") as at:
        assert await at.text(ask(max_tokens=LONG, stop=("mno",))) == "abcdefghijkl"
        await _works_and_is_clean(at)


async def test_an_answer_read_to_its_last_event_holds_nothing(tmp_path: Path) -> None:
    """At the last event the lease is back already: who stops reading there leaks nothing."""
    async with house(tmp_path) as at:
        stream = at.stream()
        async for event in stream:
            if not isinstance(event, Accepted | Progress | TextDelta):
                break
        last = await anext(stream)
        hosted = at.hosted()
        assert hosted is not None
        assert (type(last).__name__, hosted.requests) == ("Finished", 0)
