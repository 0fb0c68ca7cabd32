"""From a request of any dialect to its answer: decode, generate, encode."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from allod.api.access import tenant_of
from allod.api.body import off_loop, read_json_body
from allod.api.exchange import Exchange, bare_id
from allod.api.feed import OpenFeeds
from allod.api.settings import ApiSettings
from allod.api.streaming import StreamedAnswer, WholeAnswer
from allod.core.events import Event
from allod.core.ids import RequestId, TenantId
from allod.service.chat import ChatService
from allod.service.models import ModelService
from allod.wire.dialect import Decoded, Decoder, Envelope, Header

_MAX_IGNORED_SHOWN = 32
_Asked = TypeVar("_Asked")


class Generator:
    """What every route that generates does.

    Args:
        settings: limits of bodies and of silence.
        chat: generates.
        models: knows the model to use when a body names none.
        feeds: where open answers are kept track of.
    """

    def __init__(
        self, settings: ApiSettings, chat: ChatService, models: ModelService, feeds: OpenFeeds
    ) -> None:
        self._settings = settings
        self._chat = chat
        self._models = models
        self._feeds = feeds

    async def run(self, request: Request, decoder: Decoder) -> Response:
        """Read the body, generate, and answer in the body's dialect, streamed or whole."""
        return self.answer(await self.decode(request, decoder))

    async def decode(self, request: Request, decoder: Callable[[bytes, Envelope], _Asked]) -> _Asked:
        """Read and understand the body; a long one off the event loop."""
        body, envelope = await self.read(request)
        return await off_loop(len(body), lambda: decoder(body, envelope))

    async def read(self, request: Request) -> tuple[bytes, Envelope]:
        """The body, and what is known beside it."""
        envelope = self.envelope(Exchange.of(request.scope).request, tenant_of(request.scope))
        return await read_json_body(request, self._settings.max_body_bytes), envelope

    def envelope(self, request: RequestId, tenant: TenantId) -> Envelope:
        """What a decoder is told beside the body."""
        return Envelope(request, tenant, self._models.default)

    def open(self, decoded: Decoded) -> tuple[Header, AsyncGenerator[Event, None]]:
        """The head of the answer and its events; nothing runs before the first event is asked for.

        Raises:
            ModelNotFound: the body names a model that is not in the catalogue.
        """
        return opened(self._chat, decoded)

    def answer(self, decoded: Decoded) -> Response:
        """The answer of a decoded body."""
        header, events = self.open(decoded)
        return self.respond(decoded, header, events)

    def respond(self, decoded: Decoded, header: Header, events: AsyncIterator[Event]) -> Response:
        """Events as a response; they may have been watched on their way."""
        headers = ignored_header(decoded.ignored)
        if not decoded.stream:
            return WholeAnswer(events, decoded.collector(header), self._feeds, headers)
        encoder = decoded.encoder(header)
        return StreamedAnswer(events, encoder, self._feeds, self._settings.keepalive_seconds, headers)


def opened(chat: ChatService, decoded: Decoded) -> tuple[Header, AsyncGenerator[Event, None]]:
    """The head of an answer and its events; nothing runs before the first event is asked for.

    Raises:
        ModelNotFound: the body names a model that is not in the catalogue.
    """
    card, events = chat.answer_all(decoded.requests)
    choices = sum(request.choices for request in decoded.requests)
    return Header(bare_id(decoded.requests[0].request), int(time.time()), card.name, choices), events


def ignored_header(ignored: tuple[str, ...]) -> dict[str, str]:
    """Names of fields that had no effect; the decoder made them safe for a header."""
    return {"x-allod-ignored-fields": ", ".join(ignored[:_MAX_IGNORED_SHOWN])} if ignored else {}
