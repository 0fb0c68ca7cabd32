"""Routes that embed and rank: decode, call the service, encode."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from allod.api.body import off_loop
from allod.api.exchange import Exchange, bare_id
from allod.api.generate import Generator, ignored_header
from allod.api.json_answer import json_answer
from allod.core.usage import Usage
from allod.service.embeddings import EmbeddingService
from allod.wire.dialect import Envelope
from allod.wire.embeddings import decode_embeddings, decode_rerank, embeddings_body, rerank_body

_Result = TypeVar("_Result")


class EmbeddingRoutes:
    """Handlers of `/v1/embeddings`, `/v1/rerank` and `/rerank`."""

    def __init__(self, generator: Generator, embeddings: EmbeddingService) -> None:
        self._generator = generator
        self._embeddings = embeddings

    async def embeddings(self, request: Request) -> Response:
        """Vectors of texts."""
        body, envelope = await self._read(request)
        asked = await off_loop(len(body), lambda: decode_embeddings(body, envelope))
        work = self._embeddings.embed(asked.request, asked.dimensions)
        card, found = await _while_there(request, work)
        answer = await asyncio.to_thread(embeddings_body, card.name, found, base64=asked.base64)
        return _answer(request, answer, found.tokens, asked.ignored)

    async def rerank(self, request: Request) -> Response:
        """Documents by how near they are to a query."""
        body, envelope = await self._read(request)
        asked = await off_loop(len(body), lambda: decode_rerank(body, envelope))
        card, ranked, tokens = await _while_there(request, self._embeddings.rank(asked.request))
        identifier = bare_id(asked.request.request)
        scores = [(one.index, one.score) for one in ranked]
        answer = rerank_body(identifier, card.name, asked, scores, tokens)
        return _answer(request, answer, tokens, asked.ignored)

    async def _read(self, request: Request) -> tuple[bytes, Envelope]:
        """The body, and what is known beside it: without a name, the only model that embeds is meant."""
        body, envelope = await self._generator.read(request)
        return body, replace(envelope, default_model=self._embeddings.default)


def _answer(request: Request, body: bytes, tokens: int, ignored: tuple[str, ...]) -> Response:
    Exchange.of(request.scope).usage = Usage(tokens, 0)
    return json_answer(body, ignored_header(ignored))


async def _while_there(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """What the work comes to; it ends when the client leaves.

    Raises:
        ClientDisconnect: the client left first.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
