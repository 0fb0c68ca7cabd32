"""A server with OpenAI's chat API whose delays, counts and faults are known; on loopback, in a thread."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class Behaviour:
    """What the server does; times in seconds.

    Attributes:
        first: before the first token of a prompt that is new.
        cached_first: before the first token of a prompt that begins like an earlier one.
        gap: between pieces.
        tokens_per_piece: how many tokens each piece stands for.
        refuses: fields that are a 422.
        breaks_after: pieces after which the connection breaks, for prompts that contain `breaks_on`.
        most: requests at a time; more are a 503.
        pause_for_long: all streams stand still this long when a prompt of more than 2,000 characters comes.
        wire: `sse` with [DONE], `error` for an error event, `cut` for an end without [DONE].
    """

    first: float = 0.0
    cached_first: float = 0.0
    gap: float = 0.0
    tokens_per_piece: int = 1
    refuses: frozenset[str] = frozenset()
    tells_usage: bool = True
    breaks_after: int | None = None
    most: int | None = None
    pause_for_long: float = 0.0
    wire: str = "sse"
    context_length: int | None = 100_000
    models: tuple[str, ...] = ("fake",)
    seen: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    active: int = 0
    paused_until: float = 0.0


class FakeServer:
    """The routes; one event loop, so that its counters need no lock."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        routes = [
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)
        self._known: set[str] = set()

    async def models(self, _request: Request) -> Response:
        behaviour = self.behaviour
        entry = {"context_length": behaviour.context_length} if behaviour.context_length else {}
        return JSONResponse({"data": [{"id": name, **entry} for name in behaviour.models]})

    async def chat(self, request: Request) -> Response:
        behaviour = self.behaviour
        body = await request.json()
        behaviour.seen.append(body)
        if unknown := behaviour.refuses & set(body):
            return JSONResponse({"error": {"message": f"unknown: {unknown}"}}, 422)
        if behaviour.most is not None and behaviour.active >= behaviour.most:
            return JSONResponse({"error": {"message": "busy"}}, 503, {"Retry-After": "1"})
        behaviour.active += 1
        return StreamingResponse(self._speak(request, body), media_type="text/event-stream")

    async def _speak(self, request: Request, body: dict[str, Any]) -> AsyncIterator[bytes]:
        behaviour, loop = self.behaviour, asyncio.get_running_loop()
        prompt = json.dumps(body["messages"])
        key = body["messages"][0]["content"]
        known, words = key in self._known, len(prompt.split())
        self._known.add(key)
        if len(prompt) > 2000 and behaviour.pause_for_long:
            behaviour.paused_until = loop.time() + behaviour.pause_for_long
        try:
            yield event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
            await asyncio.sleep(behaviour.cached_first if known else behaviour.first)
            for index in range(body["max_tokens"] // behaviour.tokens_per_piece):
                if index:
                    await asyncio.sleep(behaviour.gap)
                if (wait := behaviour.paused_until - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if index == behaviour.breaks_after:
                    raise ConnectionError
                yield event({"choices": [{"delta": {"content": f"word{index} "}}]})
                if await request.is_disconnected():
                    behaviour.dropped += 1
                    return
            for data in self._end(body, words, words if known else 0):
                yield data
        finally:
            behaviour.active -= 1

    def _end(self, body: dict[str, Any], words: int, cached: int) -> Iterator[bytes]:
        behaviour = self.behaviour
        if behaviour.wire == "error":
            yield event({"error": {"message": "the model is gone"}})
            return
        if behaviour.wire == "cut":
            return
        yield event({"choices": [{"delta": {}, "finish_reason": "length"}]})
        if behaviour.tells_usage and (body.get("stream_options") or {}).get("include_usage"):
            details = {"cached_tokens": cached}
            counts = {"prompt_tokens": words, "completion_tokens": body["max_tokens"]}
            yield event({"choices": [], "usage": {**counts, "prompt_tokens_details": details}})
        yield b"data: [DONE]\n\n"


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


@contextmanager
def fake_openai(behaviour: Behaviour) -> Iterator[str]:
    """Serve until the block ends; yields the base URL."""
    config = uvicorn.Config(
        FakeServer(behaviour).app, host="127.0.0.1", port=0, log_level="critical", lifespan="off",
        timeout_graceful_shutdown=1, ws="none",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
