"""Clients of a gateway, as bare as can be: many of them cost little."""

import asyncio
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

MANY_DESCRIPTORS = 8192


@dataclass(frozen=True)
class Reply:
    """What came back until the server hung up."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


def request_bytes(path: str, body: dict[str, object] | None = None, *, close: bool = True) -> bytes:
    """A request, POST where there is a body."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def reply_of(port: int, request: bytes) -> Reply:
    """Ask and read to the end. A connection that breaks raises."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await read_reply(reader)
    finally:
        writer.close()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """What comes until the server hangs up."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Reply(int(status.split()[1]), headers, await reader.read())


@contextmanager
def many_descriptors() -> Iterator[None]:
    """This process may open thousands of connections until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MANY_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MANY_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, target), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
