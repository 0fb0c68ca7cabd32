"""The OpenAI routes: decode, call the service, encode."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from allod.api.access import LOCAL_TENANT
from allod.api.body import read_json_body
from allod.api.exchange import Exchange
from allod.api.feed import OpenFeeds
from allod.api.settings import ApiSettings
from allod.api.streaming import Collector, FrameEncoder, StreamedAnswer, WholeAnswer
from allod.service.chat import ChatService
from allod.service.models import ModelService
from allod.wire.openai.chunks import ChatChunks, CompletionChunks
from allod.wire.openai.models import model_body, model_list
from allod.wire.openai.request import Decoded, Envelope, decode_chat, decode_completion
from allod.wire.openai.shapes import Header
from allod.wire.openai.whole import ChatWhole, CompletionWhole

_MAX_IGNORED_SHOWN = 32


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of generation route: how to read its body and how to write its answers.

    Attributes:
        prefix: what the identifiers of its answers start with.
    """

    decode: Callable[[bytes, Envelope], Decoded]
    chunks: Callable[[Header, bool], FrameEncoder]
    whole: Callable[[Header], Collector]
    prefix: str


CHAT = Dialect(decode_chat, ChatChunks, ChatWhole, "chatcmpl-")
COMPLETION = Dialect(decode_completion, CompletionChunks, CompletionWhole, "cmpl-")


class OpenAIRoutes:
    """Handlers of `/v1/...`."""

    def __init__(
        self, settings: ApiSettings, chat: ChatService, models: ModelService, feeds: OpenFeeds
    ) -> None:
        self._settings = settings
        self._chat = chat
        self._models = models
        self._feeds = feeds

    async def chat_completions(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._generate(request, CHAT)

    async def completions(self, request: Request) -> Response:
        """Continue a text, without a chat template."""
        return await self._generate(request, COMPLETION)

    async def list_models(self) -> Response:
        """Every model that can be asked for, loaded or not."""
        return Response(model_list(self._models.all()), media_type="application/json")

    async def get_model(self, model: str) -> Response:
        """One model, by its key."""
        card, hosted = self._models.one(model)
        return Response(msgspec.json.encode(model_body(card, hosted)), media_type="application/json")

    async def _generate(self, request: Request, dialect: Dialect) -> Response:
        exchange = Exchange.of(request.scope)
        default = self._models.default()
        envelope = Envelope(
            request=exchange.request,
            tenant=exchange.tenant or LOCAL_TENANT,
            default_model=default.name if default else None,
        )
        decoded = dialect.decode(await read_json_body(request, self._settings.max_body_bytes), envelope)
        card, events = self._chat.answer(decoded.request)
        identifier = dialect.prefix + exchange.request.removeprefix("req-")
        header = Header(identifier, int(time.time()), card.name, decoded.request.choices)
        headers = _ignored_header(decoded.ignored)
        if not decoded.stream:
            return WholeAnswer(events, dialect.whole(header), self._feeds, headers)
        encoder = dialect.chunks(header, decoded.include_usage)
        return StreamedAnswer(events, encoder, self._feeds, self._settings.keepalive_seconds, headers)


def _ignored_header(ignored: tuple[str, ...]) -> dict[str, str]:
    """Names of fields that had no effect; the decoder made them safe for a header."""
    return {"x-allod-ignored-fields": ", ".join(ignored[:_MAX_IGNORED_SHOWN])} if ignored else {}
