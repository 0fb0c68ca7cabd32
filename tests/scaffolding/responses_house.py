"""A real server with the Responses routes, over a backend that follows a script and a keeper in memory."""

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from fastapi import FastAPI
from openai import AsyncOpenAI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from uvicorn import Config

from allod.api.access import Access
from allod.api.doors import response_doors
from allod.api.errors import answer_allod_error, answer_http_exception
from allod.api.exchange import ExchangeBorder
from allod.api.feed import OpenFeeds
from allod.api.generate import Generator as AnswerGenerator
from allod.api.guard import Guard
from allod.api.hosts import HostList, OriginList
from allod.api.keys import KeyFile
from allod.api.listen import GracefulServer, bind
from allod.api.paths import PathNormaliser
from allod.api.responses import ResponsesRoutes
from allod.api.settings import ApiSettings
from allod.api.websocket import ResponsesSocket
from allod.core.card import ModelCard
from allod.core.errors import AllodError, NotFound
from allod.core.hosting import HostedModel
from allod.core.ids import TenantId
from allod.core.keeping import Kept, KeptKind
from allod.core.sampling import SamplingWishes
from allod.service.chat import ChatService
from allod.service.models import ModelService
from allod.service.responses import ResponseService
from allod.testing.backend import FakeBackend, Script
from allod.testing.catalog import MemoryCatalog
from allod.testing.models import tiny_card
from allod.testing.prompts import BytePromptReader


class DictKeeper:
    """Keeps records in a dictionary."""

    def __init__(self) -> None:
        self.records: dict[tuple[KeptKind, str, TenantId], Kept] = {}

    async def put(self, record: Kept) -> None:
        self.records[record.kind, record.identifier, record.tenant] = record

    async def get(self, kind: KeptKind, identifier: str, tenant: TenantId) -> Kept:
        try:
            return self.records[kind, identifier, tenant]
        except KeyError as error:
            raise NotFound("no such record") from error

    async def delete(self, kind: KeptKind, identifier: str, tenant: TenantId) -> bool:
        return self.records.pop((kind, identifier, tenant), None) is not None

    async def list(
        self, kind: KeptKind, tenant: TenantId | None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[Kept]:
        raise NotImplementedError


class ColdHost:
    def hosted(self) -> Sequence[HostedModel]:
        return ()

    async def inspect(self) -> Sequence[HostedModel]:
        return ()

    async def load(self, card: ModelCard) -> None:
        raise NotImplementedError


@dataclass
class ResponsesHouse:
    """A running server and what a test may want to touch."""

    url: str
    backend: FakeBackend
    keeper: DictKeeper
    keys: KeyFile
    feeds: OpenFeeds
    client: httpx2.AsyncClient

    def sdk(self, key: str = "none") -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


class DeafServer(GracefulServer):
    """The signals of a test run are pytest's."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def application(
    settings: ApiSettings, keys: KeyFile, backend: FakeBackend, keeper: DictKeeper, feeds: OpenFeeds
) -> FastAPI:
    catalog = MemoryCatalog(tiny_card("tiny", sampling=SamplingWishes(temperature=0.6)))
    models = ModelService(catalog, ColdHost())
    chat = ChatService(catalog, backend, BytePromptReader())
    generator, responses = AnswerGenerator(settings, chat, models, feeds), ResponseService(keeper)
    app = FastAPI(
        exception_handlers={AllodError: answer_allod_error, HTTPException: answer_http_exception},
        middleware=[
            Middleware(ExchangeBorder),
            Middleware(PathNormaliser),
            Middleware(
                Guard,
                hosts=HostList(settings.host, settings.allowed_hosts),
                origins=OriginList(settings.allowed_origins),
                access=Access(settings, keys),
            ),
        ],
    )
    for door in response_doors(ResponsesRoutes(generator, models, responses, chat)):
        app.add_api_route(door.path, door.handler, methods=[door.method])
    socket = ResponsesSocket(settings, generator, models, responses, feeds)
    app.add_api_websocket_route("/v1/responses", socket.serve)
    return app


@asynccontextmanager
async def responses_house(
    home: Path, script: Script, settings: ApiSettings | None = None
) -> AsyncIterator[ResponsesHouse]:
    settings = settings or ApiSettings(port=0, shutdown_grace_seconds=0.0)
    backend, keeper, keys, feeds = FakeBackend(script), DictKeeper(), KeyFile(home / "keys.json"), OpenFeeds()
    sockets = bind(settings)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    listening = asyncio.Event()
    config = Config(
        application(settings, keys, backend, keeper, feeds),
        ws="websockets-sansio",
        ws_max_size=settings.max_body_bytes,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = DeafServer(config, feeds, settings.shutdown_grace_seconds, listening.set)
    serving = asyncio.create_task(server.serve(list(sockets)))
    await listening.wait()
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
            yield ResponsesHouse(url, backend, keeper, keys, feeds, client)
    finally:
        server.stop()
        server.stop()
        await serving
