"""The lines of a batch: bodies like those of a route, answered whole and at low priority."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace

from allod.api.generate import opened
from allod.core.ids import RequestId, TenantId
from allod.service.chat import ChatService
from allod.service.embeddings import EmbeddingService
from allod.service.models import ModelService
from allod.wire.dialect import Decoded, Decoder, Envelope
from allod.wire.embeddings import decode_embeddings, embeddings_body
from allod.wire.openai.request import decode_chat, decode_completion
from allod.wire.responses.request import decode_response

EMBEDDINGS = "/v1/embeddings"
DECODERS: Mapping[str, Decoder] = {
    "/v1/chat/completions": decode_chat,
    "/v1/completions": decode_completion,
    "/v1/responses": decode_response,
}
_OK = 200


class BatchLines:
    """Answers one line after another, in the same way as the routes do.

    Args:
        chat: generates.
        models: knows the model to use when a line names none.
        embeddings: embeds.
    """

    def __init__(self, chat: ChatService, models: ModelService, embeddings: EmbeddingService) -> None:
        self._chat = chat
        self._models = models
        self._embeddings = embeddings

    async def run(
        self, endpoint: str, body: bytes, tenant: TenantId, request: RequestId
    ) -> tuple[int, bytes]:
        """Status and JSON body of a line's answer. Cancelling the call ends the work.

        Raises:
            AllodError: there is none.
        """
        envelope = Envelope(request, tenant, self._models.default)
        if endpoint == EMBEDDINGS:
            asked = decode_embeddings(body, envelope)
            card, found = await self._embeddings.embed(asked.request, asked.dimensions)
            return _OK, embeddings_body(card.name, found, base64=asked.base64)
        return _OK, await self._generated(DECODERS[endpoint](body, envelope))

    async def _generated(self, decoded: Decoded) -> bytes:
        quiet = tuple(replace(request, priority="batch") for request in decoded.requests)
        header, events = opened(self._chat, replace(decoded, requests=quiet))
        collector = decoded.collector(header)
        async with aclosing(events):
            async for event in events:
                collector.feed(event)
        return collector.body()
