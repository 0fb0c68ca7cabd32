"""A real server on a free loopback port, over a backend that follows a script."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from tests.scaffolding.app import services_of
from uvicorn import Config

from allod.api.application import create
from allod.api.feed import OpenFeeds
from allod.api.keys import KeyFile
from allod.api.listen import GracefulServer, bind
from allod.api.settings import ApiSettings
from allod.core.card import ModelCard
from allod.core.events import Accepted, ChoiceFinished, Event, Finished, TextDelta
from allod.core.hosting import HostedModel
from allod.core.request import GenerationRequest
from allod.core.usage import Timings, Usage
from allod.testing.backend import FakeBackend, Script
from allod.testing.catalog import MemoryCatalog
from allod.testing.models import tiny_card

ANSWER: tuple[Event, ...] = (
    Accepted(3),
    TextDelta(0, "Hel"),
    TextDelta(0, "lo"),
    ChoiceFinished(0, "stop"),
    Finished(Usage(3, 2), Timings(0.0, 0.0, 0.0)),
)


def card(name: str) -> ModelCard:
    return tiny_card(name)


class FakeHost:
    """Says what the test puts into `models`."""

    def __init__(self) -> None:
        self.models: list[HostedModel] = []

    def hosted(self) -> Sequence[HostedModel]:
        return tuple(self.models)

    async def inspect(self) -> Sequence[HostedModel]:
        return tuple(self.models)

    async def load(self, card: ModelCard) -> None:
        raise NotImplementedError


class RudeBackend:
    """Yields some events, then breaks in a way that no contract allows."""

    def __init__(self, *events: Event, error: Exception | None = None) -> None:
        self._events = events
        self._error = error

    async def generate(self, request: GenerationRequest, card: ModelCard) -> AsyncGenerator[Event, None]:
        for event in self._events:
            yield event
        if self._error is not None:
            raise self._error


@dataclass
class House:
    """A running server and everything a test may want to touch."""

    url: str
    backend: FakeBackend
    host: FakeHost
    keys: KeyFile
    server: GracefulServer
    client: httpx2.AsyncClient
    serving: "asyncio.Task[None]"
    chat: dict[str, object] = field(
        default_factory=lambda: {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    )

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def stop(self) -> None:
        self.server.stop()
        await self.serving


class DeafServer(GracefulServer):
    """The signals of a test run are pytest's, and hundreds of tests need not wait for uvicorn's next tick."""

    async def main_loop(self) -> None:
        while True:  # uvicorn knows no event
            if await self.on_tick(0):
                return
            await asyncio.sleep(0.005)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def running(home: Path, script: Script | RudeBackend, settings: ApiSettings) -> AsyncIterator[House]:
    backend = script if isinstance(script, RudeBackend) else FakeBackend(script)
    host, catalog, keys, feeds = (
        FakeHost(),
        MemoryCatalog(card("tiny")),
        KeyFile(home / "keys.json"),
        OpenFeeds(),
    )
    services = services_of(catalog, backend, host)
    sockets = bind(settings)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    listening = asyncio.Event()
    config = Config(
        create(settings, services, keys, feeds),
        ws="none",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = DeafServer(config, feeds, settings.shutdown_grace_seconds, listening.set)
    serving = asyncio.create_task(server.serve(list(sockets)))
    await listening.wait()
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
            yield House(url, backend, host, keys, server, client, serving)  # type: ignore[arg-type]
            server.stop()
            server.stop()
    finally:
        server.stop()
        await serving


Start = Callable[..., Awaitable[House]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """What starts a server, from a script and settings."""
    async with AsyncExitStack() as stack:

        async def begin(
            script: Script | RudeBackend = lambda request, card: ANSWER, **changes: object
        ) -> House:
            settings = ApiSettings(**{"port": 0, **changes})
            return await stack.enter_async_context(running(tmp_path, script, settings))

        yield begin


async def until(condition: Callable[[], bool], seconds: float = 1.0) -> None:
    """Wait for something to become true, within a second."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is watched has no event of its own
            await asyncio.sleep(0.005)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[None]]:
    return until


@pytest.fixture
def answer() -> tuple[Event, ...]:
    return ANSWER


@pytest.fixture
def rude() -> type[RudeBackend]:
    return RudeBackend


@pytest.fixture
def make_card() -> Callable[[str], ModelCard]:
    return card
