"""Waiting for something or for a time, over and over, for next to nothing."""

import asyncio
import math

_TOO_EARLY_SECONDS = 0.001
"""Event loops count time in milliseconds, so a timer may go off this much early."""


class Bell:
    """Wakes the one who waits.

    A wait with a time limit usually ends by being rung, and the next one begins at once. So the timer is left
    running from wait to wait, and when it goes off it is wound for the time that counts by then: there is one
    timer in each stretch of the limit's length, and not one for each wait.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._due = math.inf
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    async def wait(self, timeout_seconds: float | None = None) -> None:
        """Until it is rung, or the time is over. A ring that nobody waited for is lost."""
        self._due = math.inf if timeout_seconds is None else self._loop.time() + timeout_seconds
        if self._due < self._alarm_at:
            self._wind()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def ring(self) -> None:
        """Wake whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Stop the timer."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _wind(self) -> None:
        self.close()
        self._alarm_at = self._due
        self._alarm = self._loop.call_at(self._due, self._go_off)

    def _go_off(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        if self._waiter is None:
            return  # the next wait winds it again
        if self._loop.time() >= self._due - _TOO_EARLY_SECONDS:
            self.ring()
        elif self._due < math.inf:
            self._wind()
