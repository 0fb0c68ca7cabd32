"""What a token costs the gateway's process, in microseconds: from a worker's frame to bytes on the wire.

Usage: python bench/gateway_tokens.py [SECONDS]. Prints JSON.

A real gateway, with a worker that has no model and makes steps at a pace; the clients are in this process and
count bytes only. CPU time is that of the gateway's process alone: all threads, user and system. `paced` is
how a model speaks: each step leaves by itself, and a step is a write for each stream. In `flood` the worker
makes steps as fast as the gateway hears them, so that several leave together. `idle` is the share of a core
that streams without a token take, and what they do to one that speaks. Of ROUNDS the median counts.
"""

import asyncio
import contextlib
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.scaffolding.paced_gateway import MODEL, PacedGateway, paced_gateway
from tests.scaffolding.paced_worker import SILENT

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
ROUNDS = 3
PACES = {1: 0.005, 32: 0.01, 200: 0.05}
"""Seconds from step to step, by the number of streams: a fast machine's."""

IDLE_STREAMS = 200
TURN = [{"role": "user", "content": "Tell me about the river that runs through your town."}]
TOOL = {
    "name": "look_up",
    "description": "Look a word up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
}
FORMS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "chat": ("/v1/chat/completions", {"messages": TURN}, b'"content":"'),
    "chat, tools": (
        "/v1/chat/completions",
        {"messages": TURN, "tools": [{"type": "function", "function": TOOL}]},
        b'"content":"',
    ),
    "messages": ("/v1/messages", {"messages": TURN}, b'"text_delta"'),
    "responses": ("/v1/responses", {"input": TURN, "store": False}, b"event: response.output_text.delta"),
}
"""By dialect: the route, the body beside what is common, and what each token's event holds once."""


class Stream(asyncio.Protocol):
    """A client that reads as fast as it can and counts tokens.

    Attributes:
        tokens: so far.
        begun: done with the first of them.
    """

    def __init__(self, head: bytes, sign: bytes) -> None:
        self.tokens = 0
        self.begun = asyncio.get_running_loop().create_future()
        self._head = head
        self._sign = sign

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Count."""
        self.tokens += data.count(self._sign)
        if self.tokens and not self.begun.done():
            self.begun.set_result(None)


@contextlib.asynccontextmanager
async def streams(
    gateway: PacedGateway, form: str, count: int, **fields: object
) -> AsyncIterator[list[Stream]]:
    """So many open streams, each of which has had its first token."""
    route, body, sign = FORMS[form]
    limit = "max_output_tokens" if form == "responses" else "max_tokens"
    data = json.dumps({"model": MODEL, "stream": True, limit: 900_000, **body, **fields}).encode()
    head = (
        f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode() + data
    connect = asyncio.get_running_loop().create_connection
    made = [await connect(lambda: Stream(head, sign), "127.0.0.1", gateway.port) for _ in range(count)]
    try:
        await asyncio.gather(*(stream.begun for _, stream in made))
        yield [stream for _, stream in made]
    finally:
        for transport, _ in made:
            transport.abort()
        await asyncio.sleep(0.1)  # the loop has to close them


async def measured(gateway: PacedGateway, speaking: list[Stream]) -> dict[str, float]:
    """CPU and tokens: the median of ROUNDS of SECONDS."""
    await asyncio.sleep(0.3)
    rounds = [await one_round(gateway, speaking) for _ in range(ROUNDS)]
    return {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}


async def one_round(gateway: PacedGateway, speaking: list[Stream]) -> dict[str, float]:
    """CPU and tokens of SECONDS."""
    tokens, started, before = sum(stream.tokens for stream in speaking), time.perf_counter(), gateway.cpu()
    await asyncio.sleep(SECONDS)
    after = gateway.cpu()
    tokens = sum(stream.tokens for stream in speaking) - tokens
    seconds = time.perf_counter() - started
    spent = sum(after) - sum(before)
    return {
        "cpu_us_per_token": round(spent / max(tokens, 1) * 1e6, 1),
        "user_us_per_token": round((after.user - before.user) / max(tokens, 1) * 1e6, 1),
        "tokens_per_second": round(tokens / seconds),
        "core_share": round(spent / seconds, 4),
    }


async def at_pace(folder: Path, form: str, count: int, pace: float) -> dict[str, float]:
    """One dialect, so many streams, one pace."""
    with paced_gateway(folder, "--step-seconds", str(pace)) as gateway:
        async with streams(gateway, form, count) as speaking:
            return await measured(gateway, speaking)


async def idle(folder: Path) -> dict[str, Any]:
    """Streams without tokens: alone, and beside one that speaks."""
    with paced_gateway(folder, "--step-seconds", str(PACES[1])) as gateway:
        async with streams(gateway, "chat", 1) as speaking:
            alone = await measured(gateway, speaking)
            async with streams(gateway, "chat", IDLE_STREAMS, seed=SILENT):
                beside = await measured(gateway, speaking)
        async with streams(gateway, "chat", IDLE_STREAMS, seed=SILENT) as silent:
            share = (await measured(gateway, silent))["core_share"]
    return {"streams": IDLE_STREAMS, "core_share": share, "one_alone": alone, "one_beside": beside}


async def main() -> None:
    """Everything, one after the other."""
    found: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "machine": platform.platform()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["paced"] = {
            str(count): await at_pace(folder, "chat", count, pace) for count, pace in PACES.items()
        }
        found["paced_32_by_form"] = {
            form: await at_pace(folder, form, 32, PACES[32]) for form in FORMS if form != "chat"
        }
        found["flood"] = {str(count): await at_pace(folder, "chat", count, 0.0) for count in PACES}
        found["idle"] = await idle(folder)
    print(json.dumps(found, indent=2))


asyncio.run(main())
