"""Embeddings and ranking through the whole application: vectors, refusals, and clients that leave."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fastapi import FastAPI
from tests.scaffolding.app import services_of

from allod.api.application import create
from allod.api.feed import OpenFeeds
from allod.api.keys import KeyFile
from allod.api.settings import ApiSettings
from allod.core.card import ModelCard
from allod.core.embedding import EmbeddingRequest, Embeddings
from allod.core.ports import Embedder
from allod.service.embeddings import EmbeddingService
from allod.testing.backend import FakeBackend
from allod.testing.catalog import MemoryCatalog
from allod.testing.encoder import FakeEmbedder
from allod.testing.models import tiny_card

BASE = "http://localhost"


class SlowEmbedder:
    """Never gets ready; tells when it begins and when it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = False

    async def embed(self, request: EmbeddingRequest, card: ModelCard) -> Embeddings:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        raise AssertionError


def application(home: Path, embedder: Embedder) -> FastAPI:
    catalog = MemoryCatalog(tiny_card("writes"), tiny_card("reads", purpose="embedding"))
    services = services_of(catalog, FakeBackend(lambda request, card: ()))
    services = replace(services, embeddings=EmbeddingService(catalog, embedder))
    return create(ApiSettings(), services, KeyFile(home / "keys.json"), OpenFeeds())


@pytest.fixture
async def client(tmp_path: Path) -> AsyncGenerator[httpx2.AsyncClient, None]:
    transport = httpx2.ASGITransport(application(tmp_path, FakeEmbedder()))
    async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


async def test_the_sdk_gets_its_vectors(client: httpx2.AsyncClient) -> None:
    """As base64, which it asks for by itself, and as numbers; the same ones."""
    sdk = openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key="none", max_retries=0, http_client=client)
    packed = await sdk.embeddings.create(model="reads", input=["a", "bc"])
    plain = await sdk.embeddings.create(model="reads", input=["a", "bc"], encoding_format="float")
    short = await sdk.embeddings.create(model="reads", input="abc", dimensions=4)
    assert [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
    assert (packed.model, packed.usage.total_tokens) == ("reads", 3)
    assert len(short.data[0].embedding) == 4


async def test_a_body_without_a_model_takes_the_only_one_that_embeds(client: httpx2.AsyncClient) -> None:
    """And one for chat, the only one that generates."""
    response = await client.post("/v1/embeddings", json={"input": "a"})
    assert (response.status_code, response.json()["model"]) == (200, "reads")


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
async def test_documents_are_ranked(client: httpx2.AsyncClient, path: str) -> None:
    """Nearest first, under both addresses."""
    body = {"model": "reads", "query": "ab", "documents": ["xyz", {"text": "ba"}], "user": "u"}
    response = await client.post(path, json=body)
    results = response.json()["results"]
    assert [result["index"] for result in results] == [1, 0]
    assert results[0]["document"] == {"text": "ba"}
    assert response.headers["x-allod-ignored-fields"] == "user"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {"model": "writes", "input": "a"}, "model"),
        ("/v1/rerank", {"model": "writes", "query": "a", "documents": ["b"]}, "model"),
        ("/v1/embeddings", {"model": "reads", "input": "a", "dimensions": 17}, "dimensions"),
        ("/v1/chat/completions", {"model": "reads", "messages": [{"role": "user", "content": "a"}]}, "model"),
        ("/v1/completions", {"model": "reads", "prompt": "a"}, "model"),
    ],
)
async def test_a_model_does_what_it_is_for(
    client: httpx2.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    """One that writes does not embed, one that embeds does not write: an exact 400 each."""
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_client_that_leaves_ends_the_work(tmp_path: Path) -> None:
    """The embedder is cancelled; no answer is sent."""
    embedder = SlowEmbedder()
    app = application(tmp_path, embedder)
    body = json.dumps({"model": "reads", "input": "a"}).encode()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not embedder.begun.is_set() and not received:
            received.append(True)
            return {"type": "http.request", "body": body, "more_body": False}
        await embedder.begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    received: list[bool] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/embeddings",
        "raw_path": b"/v1/embeddings",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    async with asyncio.timeout(10):
        await app(scope, receive, send)
    assert embedder.cancelled
    assert sent == []
