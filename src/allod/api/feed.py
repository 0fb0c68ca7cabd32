"""Between a backend's events and a client's connection: one owner, one mailbox, no loose ends.

A task of its own iterates over the events, so that several that are ready leave together, and so that
a client that leaves ends the work at once, even while the backend is silent.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, runtime_checkable

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from allod.api.bell import Bell
from allod.core.errors import AllodError, ClientTooSlow
from allod.core.events import Event, Failed, Finished

MAX_UNREAD_EVENTS = 4096
_LAST = (Finished, Failed)
_log = logging.getLogger(__name__)


@runtime_checkable
class _Closable(Protocol):
    """An iterator that cleans up when told to; every async generator is one."""

    async def aclose(self) -> None: ...


def is_last(event: Event) -> bool:
    """Whether nothing may follow this event."""
    return isinstance(event, _LAST)


class EventFeed:
    """Events of one request, taken in batches.

    Events are never held back, since that would stop the reader that all requests of a worker share. A
    client that leaves too many unread loses the rest: its answer ends with ClientTooSlow behind those events,
    and the worker is free of it.
    """

    def __init__(
        self, events: AsyncIterator[Event], receive: Receive, max_unread: int = MAX_UNREAD_EVENTS
    ) -> None:
        self._events = events
        self._max_unread = max_unread
        self._mailbox: list[Event] = []
        self._bell = Bell()
        self._ended = False
        self._error: Exception | None = None
        self._complete = False
        self._client_left = False
        self._pump = asyncio.create_task(self._iterate())
        self._watch = asyncio.create_task(self._await_disconnect(receive))

    async def take(self, timeout_seconds: float | None = None) -> list[Event]:
        """Every event that is ready; waits for the first one, and returns none after the timeout.

        Raises:
            ClientDisconnect: the client left.
            Exception: what the iterator raised, once its events are taken.
        """
        if not (self._mailbox or self._ended or self._client_left):
            await self._bell.wait(timeout_seconds)
        if self._client_left:
            raise ClientDisconnect
        if self._mailbox or not self._ended:
            batch, self._mailbox = self._mailbox, []
            return batch
        raise self._error or RuntimeError("the events ended without Finished or Failed")

    def end(self, error: AllodError) -> None:
        """Break the answer off: the events so far stay, the error is the last one."""
        self._put(Failed(error))
        self._cancel()

    async def close(self) -> None:
        """Close the iterator, wherever it is, and wait until it has let go."""
        self._watch.cancel()
        self._cancel()
        await asyncio.wait({self._watch, self._pump})
        self._bell.close()
        await self._let_go()

    async def _iterate(self) -> None:
        try:
            async for event in self._events:
                self._put(event)
                if self._complete:
                    break  # what it does after its last event is cleaning up, which `close` lets it finish
                if len(self._mailbox) >= self._max_unread and await self._is_unread():
                    self._put(Failed(self._too_slow()))
                    await self._let_go()  # now: the client may take its time to read what there is
                    break
        except Exception as error:  # noqa: BLE001 - handed to whoever takes
            self._error = error
            if self._pump.cancelling():
                _log.exception("a backend failed while it was closed")  # nobody takes any more
        finally:
            self._ended = True
            self._bell.ring()

    def _put(self, event: Event) -> None:
        if not self._complete:
            self._complete = isinstance(event, _LAST)
            self._mailbox.append(event)
            self._bell.ring()

    async def _is_unread(self) -> bool:
        """Whether the mailbox is still full when whoever waits for it had a turn."""
        await asyncio.sleep(0)
        return len(self._mailbox) >= self._max_unread

    def _too_slow(self) -> ClientTooSlow:
        return ClientTooSlow(
            f"The answer was broken off: {self._max_unread} events of it wait to be read. Read faster, ask "
            "without `stream`, or raise the setting api.max_unread_events."
        )

    async def _let_go(self) -> None:
        if isinstance(self._events, _Closable):
            await self._events.aclose()

    async def _await_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._client_left = True
        self._bell.ring()
        self._cancel()

    def _cancel(self) -> None:
        """Cancel once: a second time would hit the iterator while it cleans up."""
        if not self._pump.cancelling():
            self._pump.cancel()


class OpenFeeds:
    """The feeds that are open now, so that a shutdown can end them.

    Args:
        max_unread: how many events a client may leave unread.
    """

    def __init__(self, max_unread: int = MAX_UNREAD_EVENTS) -> None:
        self._max_unread = max_unread
        self._feeds: set[EventFeed] = set()
        self._ended: AllodError | None = None

    @asynccontextmanager
    async def open(self, events: AsyncIterator[Event], receive: Receive) -> AsyncGenerator[EventFeed, None]:
        """A feed that is closed when the block is left, however it is left."""
        feed = EventFeed(events, receive, self._max_unread)
        self._feeds.add(feed)
        if self._ended is not None:
            feed.end(self._ended)
        try:
            yield feed
        finally:
            self._feeds.discard(feed)
            await feed.close()

    def end_all(self, error: AllodError) -> None:
        """End every answer that is open, and each that still comes, with this error."""
        self._ended = error
        for feed in self._feeds:
            feed.end(error)
