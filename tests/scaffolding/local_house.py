"""A residency and a backend over fake worker processes, and the requests to put to them."""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from allod.core.card import ModelCard
from allod.core.events import Event, TextDelta
from allod.core.hosting import HostedModel
from allod.core.ids import ModelName, RequestId, TenantId, TokenId
from allod.core.messages import AnyCommand, command_decoder
from allod.core.ports import TokenCodec
from allod.core.request import Conversation, GenerationRequest, Infill, Message, RawText, RawTokens
from allod.core.sampling import SamplingWishes
from allod.local.backend import LocalBackend
from allod.local.reading import Reading
from allod.local.render import Rendered
from allod.local.residency import Residency
from allod.local.settings import LocalSettings
from allod.testing.codec import ByteCodec
from tests.scaffolding import fake_worker

PATIENCE_SECONDS = 20.0
_numbers = itertools.count(1)

CARD = ModelCard(
    name=ModelName("fable"),
    architecture="fake",
    context_tokens=fake_worker.CONTEXT_TOKENS,
    weights_bytes=1000,
    quantization="none",
    created=1,
    source="nowhere",
    kind="directory",
    vocabulary=fake_worker.VOCABULARY,
    stop_tokens=(fake_worker.STOP_TOKEN,),
    sampling=SamplingWishes(),
    has_chat_template=True,
)


def card(name: str, **changes: object) -> ModelCard:
    return msgspec.structs.replace(CARD, name=ModelName(name), **changes)


def ask(prompt: str = "hello", **changes: object) -> GenerationRequest:
    """A conversation of one message, with fields changed."""
    plain: dict[str, object] = {
        "request": RequestId(f"request-{next(_numbers)}"),
        "model": CARD.name,
        "source": Conversation((Message("user", prompt),)),
        "tenant": TenantId("local"),
        "max_tokens": 8,
    }
    return GenerationRequest(**(plain | changes))  # type: ignore[arg-type]


class BytePrompts:
    """Renders a conversation as the bytes of its messages."""

    def __init__(self, codec: TokenCodec | None = None) -> None:
        self._codec = codec or ByteCodec()

    async def render(self, request: GenerationRequest, card: ModelCard) -> Rendered:
        match request.source:
            case Conversation(messages=messages):
                text = "".join(message.content for message in messages)
                return Rendered(self._codec.encode(text, special=False), Reading(self._codec))
            case RawText(text=text):
                return self._continued(self._codec.encode(text, special=True))
            case RawTokens(tokens=tokens):
                return self._continued(tokens)
            case Infill(prefix=prefix, suffix=suffix):
                return self._continued(self._codec.encode(prefix + suffix, special=True))

    def _continued(self, tokens: tuple[TokenId, ...]) -> Rendered:
        return Rendered(tokens, Reading(self._codec, continues=True))


class Wire(asyncio.Transport):
    """A worker's link without a worker: a transport that remembers the commands written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[AnyCommand] = []
        self.aborted = False
        self._decoder = command_decoder()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.commands.extend(self._decoder.feed(bytes(data)))

    def abort(self) -> None:
        self.aborted = True


@dataclass
class House:
    """What a test looks at, and what it can do to it."""

    residency: Residency
    backend: LocalBackend
    starts: Path
    open_streams: list[AsyncGenerator[Event, None]] = field(default_factory=list)

    def starts_of(self, name: str) -> int:
        return len(self.pids_of(name))

    def pids_of(self, name: str) -> list[int]:
        lines = self.starts.read_text().splitlines() if self.starts.exists() else []
        return [int(line.split()[1]) for line in lines if line.split()[0] == name]

    def stream(
        self, request: GenerationRequest | None = None, of: ModelCard = CARD
    ) -> AsyncGenerator[Event, None]:
        stream = self.backend.generate(request or ask(), of)
        self.open_streams.append(stream)
        return stream

    async def text(self, request: GenerationRequest | None = None, of: ModelCard = CARD) -> str:
        events = [event async for event in self.stream(request, of)]
        return "".join(event.text for event in events if isinstance(event, TextDelta))

    def hosted(self, name: str = CARD.name) -> HostedModel | None:
        return next((model for model in self.residency.hosted() if model.name == name), None)

    async def reaches(self, phase: str, name: str = CARD.name) -> None:
        """Wait until a model is in a phase."""
        await self.until(lambda: (model := self.hosted(name)) is not None and model.phase == phase)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():  # noqa: ASYNC110 - what it waits for happens in other processes
                await asyncio.sleep(0.005)

    async def is_clean(self) -> None:
        """No lease is held, and the workers hold no sequence."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                models = await self.residency.inspect()
                assert all(model.requests == 0 for model in models)
                statuses = [model.status for model in models if model.status and model.phase == "ready"]
                if all(status.rows + status.queued + status.prefilling == 0 for status in statuses):
                    return
                await asyncio.sleep(0.005)


@asynccontextmanager
async def house(
    folder: Path, *flags: str, flags_of: dict[str, Sequence[str]] | None = None, **settings: object
) -> AsyncIterator[House]:
    """A house whose workers get these flags; at its end everything is closed and every process gone."""
    starts = folder / "starts"

    def command(card: ModelCard) -> Sequence[str]:
        own = (flags_of or {}).get(card.name, ())
        script = Path(fake_worker.__file__)
        return (sys.executable, str(script), "--starts", str(starts), "--model", card.name, *flags, *own)

    quick: dict[str, object] = {
        "restart_backoff_seconds": 0.05,
        "stop_grace_seconds": 10.0,
        "accept_wait_seconds": 30.0,
    }
    local = LocalSettings(**(quick | settings))  # type: ignore[arg-type]
    residency = Residency(command, local)
    built = House(residency, LocalBackend(residency, BytePrompts(), local), starts)
    try:
        yield built
    finally:
        for stream in built.open_streams:
            await stream.aclose()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await residency.close()
        lines = starts.read_text().splitlines() if starts.exists() else []
        alive = [pid for pid in (int(line.split()[1]) for line in lines) if is_alive(pid)]
        assert alive == []


async def first(stream: AsyncIterator[Event], kind: type[Event]) -> Event:
    """Read until an event of this kind."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the stream ended without {kind.__name__}")


async def drain(stream: AsyncIterator[Event]) -> list[Event]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [event async for event in stream]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
