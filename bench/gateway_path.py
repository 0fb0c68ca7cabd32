"""What a token costs between a worker's frame and the HTTP library, in microseconds of one core.

Usage: python bench/gateway_path.py [ROUNDS]. Prints JSON.

Everything of the gateway but its HTTP library runs in this process: link, answer, detokenising, parsing,
events, encoding, feed and streaming. Frames are ready-made, and what would be written is counted and thrown
away. Each frame is handed out by itself, and the next one follows when all of its events have left. Of the
rounds, the fastest counts: what is slower was disturbed.
"""

import asyncio
import json
import platform
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from starlette.requests import ClientDisconnect

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.scaffolding.local_house import Wire
from tests.scaffolding.paced_gateway import FIRST_WORD, MODEL, WORDS, write_home

from allod.api.exchange import Exchange
from allod.api.feed import OpenFeeds
from allod.api.streaming import StreamedAnswer
from allod.core.card import ModelCard
from allod.core.ids import ModelName, RequestId, SequenceId, TenantId, TokenId
from allod.core.messages import Admitted, Emission, Stepped, Submit, encode
from allod.local.backend import LocalBackend
from allod.local.link import Link
from allod.local.render import PromptRenderer
from allod.registry.catalog import Catalog
from allod.wire.anthropic.request import decode_messages
from allod.wire.dialect import Decoder, Envelope, Header
from allod.wire.openai.request import decode_chat
from allod.wire.responses.request import decode_response

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
TOKENS = 20_000
MOST_TURNS = 8
"""Of the event loop, until a step has left; text that is held back does not leave at all."""

TURN = [{"role": "user", "content": "Tell me about the river that runs through your town."}]
TOOL = {
    "name": "look_up",
    "description": "Look a word up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
}
TOOLS = [{"type": "function", "function": TOOL}]
FORMS: dict[str, tuple[Decoder, dict[str, Any]]] = {
    "chat": (decode_chat, {"messages": TURN}),
    "chat, stop strings": (decode_chat, {"messages": TURN, "stop": ["\n\nUser:", "<end>"]}),
    "chat, tools": (decode_chat, {"messages": TURN, "tools": TOOLS}),
    "messages": (decode_messages, {"messages": TURN, "max_tokens": 900_000}),
    "responses": (decode_response, {"input": TURN, "store": False}),
}


class Lent:
    """A model that is there."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @asynccontextmanager
    async def lease(self, card: ModelCard) -> AsyncGenerator[Link, None]:
        """Lend it."""
        yield self._link


class Consenting(Wire):
    """A worker that admits everything."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take a command, and admit what is submitted."""
        super().write(data)
        last = self.commands[-1]
        if isinstance(last, Submit):
            self._link.data_received(encode(Admitted(last.request, 900_000, 0)))

    def submitted(self) -> list[SequenceId]:
        """The sequences that were asked for."""
        return [command.sequences[0] for command in self.commands if isinstance(command, Submit)]


class Sink:
    """What the server would write; `left` makes the clients leave."""

    def __init__(self) -> None:
        self.writes = 0
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        """Count a write."""
        self.writes += 1

    async def receive(self) -> Any:
        """Wait for the client to leave."""
        await self.left.wait()
        return {"type": "http.disconnect"}


class Bench:
    """So many open streams of one dialect.

    Args:
        home: holds the model.
        form: a key of FORMS.
        count: how many.
    """

    def __init__(self, home: Path, form: str, count: int) -> None:
        catalog = Catalog(home / "models")
        link = Link()
        self._card = catalog.named(MODEL)
        self._prompts = PromptRenderer(catalog.folder)
        self._wire, self._link, self._sink, self._feeds = Consenting(link), link, Sink(), OpenFeeds()
        link.connection_made(self._wire)
        self._backend = LocalBackend(Lent(link), self._prompts)
        self._form = form
        self._count = count

    async def best(self) -> float:
        """Microseconds for each token, of the fastest round."""
        serving = [asyncio.create_task(self._serve(number)) for number in range(self._count)]
        while len(self._wire.submitted()) < self._count:  # noqa: ASYNC110 - it has no event of its own
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        await self._speak(TOKENS // 4)
        rounds: list[float] = []
        for _ in range(ROUNDS):
            started = time.process_time()
            await self._speak(TOKENS)
            rounds.append(time.process_time() - started)
        self._sink.left.set()
        ended = await asyncio.gather(*serving, return_exceptions=True)
        assert all(isinstance(end, ClientDisconnect) for end in ended), ended
        self._prompts.close()
        return round(min(rounds) / TOKENS * 1e6, 2)

    async def _serve(self, number: int) -> None:
        decoder, body = FORMS[self._form]
        data = json.dumps({"model": MODEL, "stream": True, **body}).encode()
        decoded = decoder(
            data, Envelope(RequestId(f"req-{number}"), TenantId("local"), lambda: ModelName(MODEL))
        )
        events = self._backend.generate(decoded.requests[0], self._card)
        answer = StreamedAnswer(
            events, decoded.encoder(Header(str(number), 1, MODEL, 1)), self._feeds, 10.0, {}
        )
        scope: Any = {"type": "http", "state": {"exchange": Exchange()}, "headers": []}
        await answer(scope, self._sink.receive, self._sink.send)

    async def _speak(self, tokens: int) -> None:
        sequences = self._wire.submitted()
        frames = [
            encode(Stepped(tuple(Emission(number, (TokenId(FIRST_WORD + word),)) for number in sequences)))
            for word in range(len(WORDS))
        ]
        for step in range(tokens // self._count):
            wanted = self._sink.writes + self._count
            self._link.data_received(frames[step % len(frames)])
            for _ in range(MOST_TURNS):
                await asyncio.sleep(0)
                if self._sink.writes >= wanted:
                    break


async def main() -> None:
    """Each dialect with 32 streams; chat with 1 and 200 too."""
    found: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "machine": platform.platform()}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        write_home(home)
        found["us_per_token"] = {
            form: {
                str(count): await Bench(home, form, count).best()
                for count in ((1, 32, 200) if form == "chat" else (32,))
            }
            for form in FORMS
        }
    print(json.dumps(found, indent=2))


uvloop.run(main())
