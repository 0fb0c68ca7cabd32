"""Answers on the wire: as server-sent events while they come, or whole."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from allod.api.exchange import Exchange, internal_failure
from allod.api.feed import EventFeed, OpenFeeds, is_last
from allod.core.errors import AllodError
from allod.core.events import Accepted, Event, Failed, Finished
from allod.wire.dialect import Collector, FrameEncoder

_log = logging.getLogger(__name__)


class StreamedAnswer(Response):
    """An answer that leaves event by event.

    The status goes out with the first event, so everything that is wrong before it has its proper
    status. After that, an error is the last event, and the stream ends without its final marker.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[Event],
        encoder: FrameEncoder,
        feeds: OpenFeeds,
        keepalive_seconds: float,
        headers: Mapping[str, str],
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers})
        self._events = events
        self._encoder = encoder
        self._feeds = feeds
        self._keepalive_seconds = keepalive_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer while watching for the client to leave."""
        exchange = Exchange.of(scope)
        async with self._feeds.open(self._events, receive) as feed:
            first = await feed.take()
            if isinstance(first[0], Failed):
                raise first[0].error
            frames = self._encode(first)
            _account(first, exchange)
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            done = is_last(first[-1])
            await send({"type": "http.response.body", "body": frames, "more_body": not done})
            if not done:
                await self._relay(feed, exchange, send)

    async def _relay(self, feed: EventFeed, exchange: Exchange, send: Send) -> None:
        """Everything after the first batch. Silence is measured by the clock, from bytes to bytes."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._keepalive_seconds
        done = False
        while not done:
            frames, done = await self._next(feed, exchange, deadline - clock())
            if not frames and clock() >= deadline:
                frames = self._encoder.ping
            if frames or done:
                await send({"type": "http.response.body", "body": frames, "more_body": not done})
                deadline = clock() + self._keepalive_seconds

    async def _next(self, feed: EventFeed, exchange: Exchange, timeout_seconds: float) -> tuple[bytes, bool]:
        """The frames that come next, and whether they are the last; a fault becomes the last one."""
        try:
            batch = await feed.take(timeout_seconds)
            if not batch:
                return b"", False
            _account(batch, exchange)
            return self._encode(batch), is_last(batch[-1])
        except ClientDisconnect:
            raise
        except AllodError as error:
            return self._encoder.feed(Failed(error)), True
        except Exception as error:  # noqa: BLE001 - the status is out already: it becomes an event
            _log.exception("%s failed while streaming", exchange.request)
            return self._encoder.feed(Failed(internal_failure(error, exchange))), True

    def _encode(self, batch: Sequence[Event]) -> bytes:
        return b"".join(map(self._encoder.feed, batch))


class WholeAnswer(Response):
    """An answer that leaves when it is complete; a client that leaves before still ends the work."""

    media_type = "application/json"

    def __init__(
        self, events: AsyncIterator[Event], collector: Collector, feeds: OpenFeeds, headers: Mapping[str, str]
    ) -> None:
        self.status_code = 200
        self.background = None
        self._events = events
        self._collector = collector
        self._feeds = feeds
        self._extra_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Collect the answer while watching for the client to leave, then send it."""
        exchange = Exchange.of(scope)
        async with self._feeds.open(self._events, receive) as feed:
            done = False
            while not done:
                batch = await feed.take()
                _account(batch, exchange)
                for event in batch:
                    self._collector.feed(event)
                done = is_last(batch[-1])
        body = self._collector.body()
        whole = Response(body, media_type=self.media_type, headers=self._extra_headers)
        await whole(scope, receive, send)


def _account(batch: Sequence[Event], exchange: Exchange) -> None:
    """Only a first event is Accepted and only a last one Finished, so those between need no look."""
    if isinstance(first := batch[0], Accepted):
        exchange.prefix = first.prefix
    if isinstance(last := batch[-1], Finished):
        exchange.usage = last.usage
