"""One request on a connection of its own, against sockets whose every byte is known."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from allod.bench.exchange import Address, Exchange
from allod.core.errors import ConfigurationError

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk):
    """A server that reads the head of a request and then does as it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            await talk(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Address.parse(f"http://127.0.0.1:{port}")
        async with asyncio.timeout(5):
            await ended.wait()


def exchange(address: Address, patience_seconds: float = 10) -> Exchange:
    return Exchange(address, address.request("GET", "/x", None, None), patience_seconds)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\nServer: s\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\nServer: s\r\n\r\n", b"hello"),
    ],
    ids=["length", "chunked", "until the connection ends"],
)
async def test_every_framing_of_http_is_read(head: bytes, body: bytes) -> None:
    """A body ends by its length, by its last chunk, or with the connection, as the head says."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)
        await writer.drain()

    async with talking(talk) as address:
        reply = await exchange(address).run()
    assert (reply.status, reply.body, reply.failure, reply.server) == (200, b"hello", "", "s")
    assert reply.sent is not None
    assert reply.opened <= reply.sent <= reply.ended


async def test_a_body_that_is_cut_short_is_broken_off() -> None:
    """A connection that ends before the announced end is a failure, and what came is kept."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
        await writer.drain()

    async with talking(talk) as address:
        reply = await exchange(address).run()
    assert (reply.failure, reply.body) == ("broken off", b"hello")


async def test_what_is_not_http_is_malformed() -> None:
    """Bytes that no parser takes are told apart from a connection that ends."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"what?\r\n\r\n")
        await writer.drain()

    async with talking(talk) as address:
        assert (await exchange(address).run()).failure == "malformed"


async def test_patience_ends() -> None:
    """A server that says nothing is given up after the time that was set, and not before."""

    async def talk(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with talking(talk) as address:
        reply = await exchange(address, patience_seconds=0.2).run()
    assert reply.failure == "timeout"
    assert reply.ended - reply.opened >= 0.2


async def test_nobody_there() -> None:
    """A port that nobody listens on is no connection."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    reply = await exchange(Address.parse(f"http://127.0.0.1:{port}")).run()
    assert (reply.failure, reply.sent) == ("no connection", None)


async def test_drop_reaches_the_server() -> None:
    """Who is waited for can be left: the server sees the connection end, and waiters wake."""
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
        await writer.drain()
        with suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with talking(talk) as address:
        asked = exchange(address)
        running = asyncio.create_task(asked.run())
        assert await asked.heard(1)
        waiting = asyncio.create_task(asked.heard(2))
        await asyncio.sleep(0)
        asked.drop()
        assert not await waiting
        assert (await running).failure == "dropped by us"
        async with asyncio.timeout(5):
            await gone.wait()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a:8080", Address("a", 8080, tls=False, path="/v1")),
        ("a:8080/v1/", Address("a", 8080, tls=False, path="/v1")),
        ("https://a.example/openai", Address("a.example", 443, tls=True, path="/openai/v1")),
        ("http://[::1]:9", Address("::1", 9, tls=False, path="/v1")),
    ],
)
def test_addresses(url: str, expected: Address) -> None:
    """A base URL is taken with `/v1` and without, and its host goes into the request as HTTP writes it."""
    assert Address.parse(url) == expected
    host = "[::1]" if expected.host == "::1" else expected.host
    assert f"Host: {host}:{expected.port}\r\n".encode() in expected.request("GET", "/models", None, None)


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://a:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """The message names what was given."""
    with pytest.raises(ConfigurationError, match=url):
        Address.parse(url)
