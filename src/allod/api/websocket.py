"""Responses over a WebSocket: many turns on one connection, one after the other.

The client sends `response.create` events, whose other fields are those of a body of POST
/v1/responses; the server sends the events that a stream has. The connection remembers its last
responses, those with `store: false` too, so that a turn need only send what is new.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketState

from allod.api.access import tenant_of
from allod.api.body import off_loop
from allod.api.exchange import Exchange, internal_failure, new_request_id
from allod.api.feed import EventFeed, OpenFeeds, is_last
from allod.api.generate import Generator
from allod.api.responses import ResponseMaker, Turn
from allod.api.settings import ApiSettings
from allod.core.errors import AllodError, Busy, InvalidRequest
from allod.core.events import Event, Failed, Finished
from allod.core.usage import Usage
from allod.service.models import ModelService
from allod.service.responses import Chain, ResponseService
from allod.wire.responses.request import Understood, understood
from allod.wire.responses.shapes import Json
from allod.wire.responses.stream import ResponseEvents, error_event, event_text
from allod.wire.responses.whole import ResponseWhole

_CREATE = "response.create"
_MAX_WAITING = 16
_REMEMBERED = 16
_log = logging.getLogger(__name__)


class ResponsesSocket:
    """The handler of the WebSocket `/v1/responses`."""

    def __init__(
        self,
        settings: ApiSettings,
        generator: Generator,
        models: ModelService,
        responses: ResponseService,
        feeds: OpenFeeds,
    ) -> None:
        self._settings = settings
        self._generator = generator
        self._feeds = feeds
        self._maker = ResponseMaker(generator, models, responses)

    async def serve(self, socket: WebSocket) -> None:
        """Answer turns until the client leaves."""
        await socket.accept()
        connection = _Connection(socket, self._settings, self._generator, self._maker, self._feeds)
        await connection.run()


class _Connection:
    def __init__(
        self,
        socket: WebSocket,
        settings: ApiSettings,
        generator: Generator,
        maker: ResponseMaker,
        feeds: OpenFeeds,
    ) -> None:
        self._socket = socket
        self._keepalive_seconds = settings.keepalive_seconds
        self._generator = generator
        self._maker = maker
        self._feeds = feeds
        self._exchange = Exchange.of(socket.scope)
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._left = asyncio.Event()
        self._near: OrderedDict[str, Chain] = OrderedDict()

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        try:
            while (body := await self._waiting.get()) is not None:
                await self._answer(body)
        except ClientDisconnect:
            self._exchange.abandoned = True
        finally:
            reader.cancel()
            await asyncio.wait({reader})

    async def _read(self) -> None:
        """Take in what the client sends, so that its leaving is noticed while a turn is answered."""
        try:
            while (message := await self._socket.receive())["type"] == "websocket.receive":
                text: str | None = message.get("text")
                body: bytes = message["bytes"] if text is None else text.encode()
                if self._waiting.qsize() < _MAX_WAITING:
                    self._waiting.put_nowait(body)
                else:
                    waiting = f"{_MAX_WAITING} turns wait on this connection already; send it again later."
                    await self._send([error_event(Busy(waiting))])
        finally:
            self._left.set()
            self._waiting.put_nowait(None)

    async def _answer(self, body: bytes) -> None:
        previous: str | None = None
        try:
            read = await off_loop(len(body), lambda: _understood(body))
            previous = read.previous
            envelope = self._generator.envelope(new_request_id(), tenant_of(self._socket.scope))
            silent = read.asked.unknown.get("generate") is False
            await self._make(
                await self._maker.begin(read, envelope, self._near, length=len(body), silent=silent)
            )
        except AllodError as error:
            self._near.pop(previous or "", None)  # a turn that failed is started over, not continued
            await self._send([error_event(error)])
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - the connection lives on, the turn has failed
            _log.exception("%s failed on a WebSocket", self._exchange.request)
            await self._send([error_event(internal_failure(error, self._exchange))])

    async def _make(self, turn: Turn) -> None:
        events = ResponseEvents(turn.header, turn.echo)
        recorder = ResponseWhole(turn.header, turn.echo)
        done = begun = False
        async with self._feeds.open(turn.events, self._until_left) as feed:
            while not done:
                batch = await self._take(feed, begun=begun)
                if not begun and batch and isinstance(batch[0], Failed):
                    raise batch[0].error
                begun = begun or bool(batch)
                done = bool(batch) and is_last(batch[-1])
                for event in batch:
                    recorder.feed(event)
                    self._account(event)
                if done and isinstance(batch[-1], Finished):
                    self._remember(turn, recorder)
                told = [told for event in batch for told in events.feed(event)]
                await self._send(told if batch or not begun else events.ping())

    async def _take(self, feed: EventFeed, *, begun: bool) -> list[Event]:
        """The events that come next; once the response has begun, a fault is its last event."""
        try:
            return await feed.take(self._keepalive_seconds)
        except ClientDisconnect:
            raise
        except Exception as error:
            if not begun:
                raise
            if isinstance(error, AllodError):
                return [Failed(error)]
            _log.exception("%s failed on a WebSocket", self._exchange.request)
            return [Failed(internal_failure(error, self._exchange))]

    def _remember(self, turn: Turn, recorder: ResponseWhole) -> None:
        entry = turn.entry
        self._near[entry.identifier] = (*turn.chain, entry.ended(recorder.record()))
        if len(self._near) > _REMEMBERED:
            self._near.popitem(last=False)

    def _account(self, event: Event) -> None:
        if isinstance(event, Finished):
            sofar, new = self._exchange.usage or Usage(0, 0), event.usage
            self._exchange.usage = Usage(
                sofar.prompt_tokens + new.prompt_tokens,
                sofar.completion_tokens + new.completion_tokens,
                sofar.cached_tokens + new.cached_tokens,
                sofar.reasoning_tokens + new.reasoning_tokens,
            )

    async def _until_left(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, events: Sequence[Json]) -> None:
        for event in events:
            if self._left.is_set() or self._socket.application_state is not WebSocketState.CONNECTED:
                raise ClientDisconnect
            try:
                await self._socket.send_text(event_text(event).decode())
            except OSError as error:
                raise ClientDisconnect from error


def _understood(body: bytes) -> Understood:
    read = understood(body)
    fields = read.asked.unknown
    if fields.get("type") != _CREATE:
        shown = msgspec.json.encode(fields.get("type")).decode()[:40]
        raise InvalidRequest(f'type: got {shown}; send "{_CREATE}"', param="type")
    if not isinstance(fields.get("generate"), bool | None):
        raise InvalidRequest("generate: send true or false", param="generate")
    if fields.get("stream_id") is not None:
        raise InvalidRequest(
            "stream_id: a connection has one stream here; leave the field out, or open a second connection",
            param="stream_id",
        )
    return read
