"""A bell wakes who waits, by being rung or by the clock, and keeps one timer for all its waits."""

import asyncio

import pytest

from allod.api.bell import Bell


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the timers that are set."""

    timers = 0

    def call_at(self, *args, **kwargs) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(*args, **kwargs)


async def test_a_ring_wakes_who_waits() -> None:
    """At once, with or without a time limit."""
    bell = Bell()
    for timeout_seconds in (None, 60.0):
        waits = asyncio.create_task(bell.wait(timeout_seconds))
        await asyncio.sleep(0)
        assert not waits.done()
        bell.ring()
        await asyncio.wait_for(waits, 1)
    bell.close()


@pytest.mark.parametrize("timeout_seconds", [-1.0, 0.0, 0.02])
async def test_the_clock_wakes_too(timeout_seconds: float) -> None:
    """After the limit, and not before it."""
    bell, clock = Bell(), asyncio.get_running_loop().time
    started_seconds = clock()
    await asyncio.wait_for(bell.wait(timeout_seconds), 5)
    assert clock() - started_seconds >= timeout_seconds - 0.002


async def test_a_shorter_wait_after_a_longer_one_is_short() -> None:
    """The timer that is left over from a long wait does not delay the next."""
    bell = Bell()
    waits = asyncio.create_task(bell.wait(60))
    await asyncio.sleep(0)
    bell.ring()
    await waits
    await asyncio.wait_for(bell.wait(0.01), 5)
    bell.close()


async def test_a_wait_goes_on_when_an_older_limit_passes() -> None:
    """What goes off is the limit of the wait that is on, not of one before it."""
    bell, clock = Bell(), asyncio.get_running_loop().time
    waits = asyncio.create_task(bell.wait(0.02))
    await asyncio.sleep(0)
    bell.ring()
    await waits
    started_seconds = clock()
    await asyncio.wait_for(bell.wait(0.08), 5)
    assert clock() - started_seconds >= 0.078


def test_many_waits_cost_one_timer() -> None:
    """A thousand waits that are rung set one timer between them."""
    loop = CountingLoop()

    async def wait_often() -> None:
        bell = Bell()
        for _ in range(1000):
            loop.call_soon(bell.ring)
            await bell.wait(60)
        bell.close()

    try:
        loop.run_until_complete(wait_often())
    finally:
        loop.close()
    assert loop.timers == 1
