"""Workers that die, hang and refuse: real processes, killed for real."""

import asyncio
import logging
import os
import signal
import time
from pathlib import Path

import pytest
from tests.scaffolding.local_house import CARD, PATIENCE_SECONDS, ask, drain, first, house

from allod.core.errors import Busy, ModelUnavailable
from allod.core.events import Accepted, Failed, Finished, TextDelta

LONG = 4000


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
async def test_a_death_fails_every_open_stream_within_two_seconds(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Every open stream ends with Failed at most 2 s after the kill; the next request is answered."""
    async with house(tmp_path, "--step-seconds", "0.01") as at:
        streams = [at.stream(ask(max_tokens=LONG)) for _ in range(5)]
        await asyncio.gather(*(first(stream, TextDelta) for stream in streams))
        killed_at = time.monotonic()
        os.kill(at.pids_of("fable")[0], number)
        rests = await asyncio.gather(*(drain(stream) for stream in streams))
        assert time.monotonic() - killed_at < 2.0
        for rest in rests:
            assert isinstance(rest[-1], Failed)
            assert isinstance(rest[-1].error, ModelUnavailable)
            assert rest[-1].error.message == (
                f"The model's worker stopped unexpectedly (signal {number.value}); "
                "it is being started again. Send the request again."
            )
        assert await at.text() == "abcdefgh"
        hosted = at.hosted()
        assert hosted is not None
        assert (hosted.phase, hosted.restarts, at.starts_of("fable")) == ("ready", 1, 2)
        await at.is_clean()


async def test_requests_that_arrive_while_it_restarts_wait(tmp_path: Path) -> None:
    """A request put while the worker is on its way back is answered, not refused."""
    async with house(tmp_path, restart_backoff_seconds=0.3) as at:
        await at.residency.load(CARD)
        os.kill(at.pids_of("fable")[0], signal.SIGKILL)
        await at.reaches("restarting")
        assert await at.text() == "abcdefgh"


async def test_a_worker_that_aborts_in_a_step_is_replaced(tmp_path: Path) -> None:
    """An abort in the middle of a step, as Metal does it, ends the stream and not the house."""
    async with house(tmp_path, "--kill-after", "4", "--step-seconds", "0.05") as at:
        events = await drain(at.stream(ask(max_tokens=100)))
        assert isinstance(events[0], Accepted)
        assert isinstance(events[-1], Failed)
        assert await at.text() == "abcdefgh"


async def test_a_silent_worker_is_dumped_killed_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that owes answers and is silent too long is killed; its stack is in the log."""
    caplog.set_level(logging.INFO, "allod.local.process")
    async with house(
        tmp_path, "--hang-after", "4", "--step-seconds", "0.05", stall_timeout_seconds=0.5
    ) as at:
        events = await drain(at.stream(ask(max_tokens=100)))
        assert isinstance(events[-1], Failed)
        assert "made no progress for 0.5 seconds" in events[-1].error.message
        assert await at.text() == "abcdefgh"
        assert at.starts_of("fable") == 2
    assert "in launch" in caplog.text


async def test_an_idle_worker_is_not_taken_for_a_silent_one(tmp_path: Path) -> None:
    """Silence counts only while answers are owed: the same worker answers before and after a pause."""
    async with house(tmp_path, stall_timeout_seconds=0.1) as at:
        await at.text()
        await asyncio.sleep(0.5)
        await at.text()
        assert at.starts_of("fable") == 1


async def test_a_load_failure_is_told_and_not_repeated_at_once(tmp_path: Path) -> None:
    """LoadFailed reaches the client; until the rest is over nobody starts another worker."""
    async with house(tmp_path, "--load-fails", "no such weights", restart_backoff_seconds=1.0) as at:
        for _ in range(3):
            with pytest.raises(ModelUnavailable, match="no such weights") as caught:
                await at.text()
            assert caught.value.retry_after_seconds == 1
        assert at.starts_of("fable") == 1
        hosted = at.hosted()
        assert hosted is not None
        assert (hosted.phase, hosted.detail, hosted.requests) == ("failed", "no such weights", 0)


async def test_a_failed_model_is_tried_again_after_its_rest(tmp_path: Path) -> None:
    """Once the rest is over a request starts another worker."""
    async with house(tmp_path, "--load-fails", "no such weights", restart_backoff_seconds=0.02) as at:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while at.starts_of("fable") < 2:
                with pytest.raises(ModelUnavailable):
                    await at.text()


async def test_a_death_while_loading_is_survived(tmp_path: Path) -> None:
    """Two deaths on the way up are retried for the request that waits."""
    async with house(tmp_path, "--dies-loading", "2") as at:
        assert await at.text() == "abcdefgh"
        assert at.starts_of("fable") == 3


async def test_a_model_that_always_dies_while_loading_has_failed(tmp_path: Path) -> None:
    """The third death on the way up is told to the client: there is no endless loop."""
    async with house(tmp_path, "--dies-loading", "99") as at:
        with pytest.raises(ModelUnavailable, match=r"stopped while loading \(signal 9\)"):
            await at.text()
        assert at.starts_of("fable") == 3


async def test_loading_has_a_limit(tmp_path: Path) -> None:
    """A load that takes too long is ended, and the client told."""
    os.mkfifo(tmp_path / "gate")
    flags = ("--gate", str(tmp_path / "gate"))
    async with house(tmp_path, *flags, load_timeout_seconds=0.5) as at:
        with pytest.raises(ModelUnavailable, match=r"0\.5 seconds"):
            await at.text()
        await at.reaches("failed")


async def test_a_refusal_after_accepted_is_a_failed(tmp_path: Path) -> None:
    """Headers do not wait longer than accept_wait_seconds; what is known later is the last event."""
    os.mkfifo(tmp_path / "gate")
    flags = ("--gate", str(tmp_path / "gate"), "--load-fails", "no such weights")
    async with house(tmp_path, *flags, accept_wait_seconds=0.01) as at:
        stream = at.stream()
        assert await anext(stream) == Accepted(5)
        await asyncio.to_thread((tmp_path / "gate").write_text, "go")
        (last,) = await drain(stream)
        assert isinstance(last, Failed)
        assert last.error.message == "no such weights"


async def test_a_busy_worker_is_waited_for(tmp_path: Path) -> None:
    """However short the wait for a model that loads: what one that is there refuses is no answer begun."""
    flags = ("--step-seconds", "0.3", "--rows", "1", "--queue", "1")
    async with house(tmp_path, *flags, accept_wait_seconds=0.01) as at:
        await first(at.stream(ask(max_tokens=40)), TextDelta)
        await first(at.stream(ask(max_tokens=40)), Accepted)
        with pytest.raises(Busy):
            await anext(at.stream(ask(max_tokens=40)))


async def test_a_command_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    """A missing program is a model that cannot be loaded, not an internal failure."""
    async with house(tmp_path) as at:
        at.residency._command = lambda _: (str(tmp_path / "nothing"),)
        with pytest.raises(ModelUnavailable, match="cannot be started"):
            await at.text()


async def test_closing_finishes_what_was_begun_and_ends_with_exit_code_0(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Close drains: the open answer completes, new requests are refused, the child exits with 0."""
    caplog.set_level(logging.INFO, "allod.local.process")
    async with house(tmp_path, "--step-seconds", "0.01") as at:
        stream = at.stream(ask(max_tokens=50))
        await first(stream, TextDelta)
        closing = asyncio.create_task(at.residency.close())
        await at.reaches("stopping")
        with pytest.raises(ModelUnavailable, match="shutting down"):
            await at.text()
        events = await drain(stream)
        assert isinstance(events[-1], Finished)
        assert events[-1].usage.completion_tokens == 50
        await closing
    assert "ended: exit code 0" in caplog.text


async def test_closing_does_not_wait_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the grace is over the stream fails and even a worker that ignores SIGTERM ends."""
    caplog.set_level(logging.INFO, "allod.local.process")
    flags = ("--step-seconds", "0.01", "--stubborn")
    async with house(tmp_path, *flags, stop_grace_seconds=0.2) as at:
        stream = at.stream(ask(max_tokens=LONG))
        await first(stream, TextDelta)
        closing = asyncio.create_task(at.residency.close())
        events = await drain(stream)
        assert isinstance(events[-1], Failed)
        assert "stopped before the answer was complete" in events[-1].error.message
        await closing
    assert "ended: signal 9" in caplog.text


async def test_what_a_worker_prints_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines on the worker's standard error reach our log, with its pid."""
    caplog.set_level(logging.INFO, "allod.local.process")
    async with house(tmp_path) as at:
        await at.residency.load(CARD)
        (pid,) = at.pids_of("fable")
    assert f"worker {pid}: worker of fable speaks" in caplog.text
