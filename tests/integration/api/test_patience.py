"""The gateway as a process of its own, and clients that stop in the middle of what they ask."""

import asyncio
import json
from pathlib import Path

from tests.scaffolding.clients import Reply, read_reply, reply_of, request_bytes
from tests.scaffolding.paced_gateway import MODEL, PacedGateway, paced_gateway
from tests.scaffolding.paced_worker import SILENT

CHAT = "/v1/chat/completions"
PLACES = 9
PATIENCE_SECONDS = 0.6
KEEPALIVE_SECONDS = 0.3
STEP_SECONDS = 0.1
LONG_TOKENS = 30
"""Of a paced worker: five times as long as a client may take."""

UPGRADE = (
    b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MASKED_PING = b"\x89\x80\x00\x00\x00\x00"
PONG = b"\x8a\x00"


def chat(path: str = CHAT, *, close: bool = True, **fields: object) -> bytes:
    plain = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    return request_bytes(path, {**plain, **fields}, close=close)


async def left_with(gateway: PacedGateway, half: bytes) -> Reply | None:
    """What a client hears that says so much and no more, until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(half)
        return await read_reply(reader) if half else None
    finally:
        assert await reader.read() == b""
        writer.close()


async def silent_stream(gateway: PacedGateway, is_over: asyncio.Event) -> int:
    """How many keepalive comments come on a stream without tokens, until it is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(chat(stream=True, seed=SILENT, max_tokens=900_000))
    comments = 0
    while not is_over.is_set() or comments < 3 * PATIENCE_SECONDS / KEEPALIVE_SECONDS:
        line = await reader.readline()
        assert line
        comments += line.startswith(b":")
    writer.close()
    return comments


async def websocket_alive(gateway: PacedGateway, is_over: asyncio.Event) -> bool:
    """Whether a WebSocket on which nothing is said is there until it is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(UPGRADE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    await is_over.wait()
    writer.write(MASKED_PING)
    answer = await reader.readexactly(len(PONG))
    writer.close()
    return answer == PONG


async def test_who_stops_asking_gives_its_place_back(tmp_path: Path) -> None:
    """It gets a 408 where it had begun, and others its place; who waits for the server is left alone."""
    asked = chat(close=False)
    halves = {
        "silent": b"",
        "head": asked[:60],
        "body": asked[:-5],
        "messages": chat("/v1/messages", close=False)[:-5],
        "foreign": asked.replace(b"Host: localhost", b"Host: example.com")[:-5],
    }
    settings = (
        f"api.max_connections={PLACES}",
        f"api.head_seconds={PATIENCE_SECONDS}",
        f"api.body_gap_seconds={PATIENCE_SECONDS}",
        f"api.keepalive_seconds={KEEPALIVE_SECONDS}",
    )
    is_over = asyncio.Event()
    with paced_gateway(tmp_path, "--step-seconds", str(STEP_SECONDS), settings=settings) as gateway:
        async with asyncio.timeout(60):
            whole_answer = asyncio.create_task(reply_of(gateway.port, chat(max_tokens=LONG_TOKENS)))
            stream = asyncio.create_task(silent_stream(gateway, is_over))
            websocket = asyncio.create_task(websocket_alive(gateway, is_over))
            heard = await asyncio.gather(*(left_with(gateway, half) for half in halves.values()))
            left = dict(zip(halves, heard, strict=True))
            several = await asyncio.gather(*(reply_of(gateway.port, chat()) for _ in range(4)))
            long = await whole_answer
            is_over.set()
            comments, is_alive = await stream, await websocket
    assert left["silent"] is None
    assert told(left["head"]) == (408, "request_timeout", "close")
    assert told(left["body"]) == (408, "request_timeout", "close")
    assert left["messages"] is not None
    assert left["messages"].error["type"] == "invalid_request_error"
    assert json.loads(left["messages"].body)["request_id"] == left["messages"].headers["request-id"]
    assert left["foreign"] is not None
    assert left["foreign"].status == 403
    assert [reply.status for reply in several] == [200] * 4
    assert json.loads(long.body)["usage"]["completion_tokens"] == LONG_TOKENS
    assert comments
    assert is_alive


def told(reply: Reply | None) -> tuple[int, str, str]:
    assert reply is not None
    assert reply.headers["x-request-id"].startswith("req-")
    return reply.status, reply.error["code"], reply.headers["connection"]
