"""Between a backend's events and a client's connection: one owner, one mailbox, no loose ends.

A task of its own iterates over the events, so that several that are ready leave together, and so that
a client that leaves ends the work at once, even while the backend is silent.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, runtime_checkable

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from allod.core.errors import AllodError
from allod.core.events import Event, Failed, Finished

_log = logging.getLogger(__name__)


@runtime_checkable
class _Closable(Protocol):
    """An iterator that cleans up when told to; every async generator is one."""

    async def aclose(self) -> None: ...


def is_last(event: Event) -> bool:
    """Whether nothing may follow this event."""
    return isinstance(event, Finished | Failed)


class EventFeed:
    """Events of one request, taken in batches.

    The mailbox has no limit of its own: an answer ends at its token limit, and holding events back
    would stop the reader that all requests of a worker share.
    """

    def __init__(self, events: AsyncIterator[Event], receive: Receive) -> None:
        self._events = events
        self._mailbox: deque[Event] = deque()
        self._news = asyncio.Event()
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
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        except TimeoutError:
            return []
        if self._client_left:
            raise ClientDisconnect
        if self._mailbox:
            batch = list(self._mailbox)
            self._mailbox.clear()
            if not self._pump.done():
                self._news.clear()
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
        if isinstance(self._events, _Closable):
            await self._events.aclose()

    async def _iterate(self) -> None:
        try:
            async for event in self._events:
                self._put(event)
                if self._complete:
                    break  # what it does after its last event is cleaning up, which `close` lets it finish
        except Exception as error:  # noqa: BLE001 - handed to whoever takes
            self._error = error
            if self._pump.cancelling():
                _log.exception("a backend failed while it was closed")  # nobody takes any more
        finally:
            self._news.set()

    def _put(self, event: Event) -> None:
        if not self._complete:
            self._complete = is_last(event)
            self._mailbox.append(event)
            self._news.set()

    async def _await_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._client_left = True
        self._news.set()
        self._cancel()

    def _cancel(self) -> None:
        """Cancel once: a second time would hit the iterator while it cleans up."""
        if not self._pump.cancelling():
            self._pump.cancel()


class OpenFeeds:
    """The feeds that are open now, so that a shutdown can end them."""

    def __init__(self) -> None:
        self._feeds: set[EventFeed] = set()
        self._ended: AllodError | None = None

    @asynccontextmanager
    async def open(self, events: AsyncIterator[Event], receive: Receive) -> AsyncGenerator[EventFeed, None]:
        """A feed that is closed when the block is left, however it is left."""
        feed = EventFeed(events, receive)
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
