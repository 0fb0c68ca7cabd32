"""A client that is to act has its time, and no more; one that waits for the server has all time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from allod.api.arrival import Arrival
from allod.api.connection import Connection, ConnectionLimits
from allod.api.exchange import ExchangeBorder
from allod.api.turns import MOVES, Turn, move

HEAD_SECONDS = 30.0
GAP_SECONDS = 60.0
CROWDED_SECONDS = 5.0
IDLE_SECONDS = 200
"""Longer than what is ours, to tell them apart."""

LONG_SECONDS = 100_000.0
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n"
POST_UNREAD = POST.replace(b"/read", b"/")


class Wire(asyncio.Transport):
    """A transport whose other end sees everything."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        self.sent += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def take(self) -> bytes:
        """What was sent since the last time."""
        sent, self.sent = self.sent, b""
        return sent


class Clock:
    """Time that passes when told to, in place of a loop's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now_seconds = 1000.0
        self._timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return self._now_seconds

    def call_at(self, when: float, call: Callable[..., object], *args: Any, **_: Any) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, call, args, self._loop)
        self._timers.append(timer)
        return timer

    def call_later(
        self, delay: float, call: Callable[..., object], *args: Any, **_: Any
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_seconds + delay, call, *args)

    async def passes(self, seconds: float) -> None:
        """Ring what is due, and let everybody act."""
        await settle()
        self._now_seconds += seconds
        due = [timer for timer in self._timers if timer.when() <= self._now_seconds]
        self._timers = [timer for timer in self._timers if timer.when() > self._now_seconds]
        for timer in due:
            if not timer.cancelled():
                timer._run()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class Server:
    """An application that answers when it may, and watches for the client to leave meanwhile.

    `/read` reads the body and begins to answer when it may, `/fail` fails, all else begins at once.
    """

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    may_leave: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[Exception] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while scope["path"] == "/read" and (await receive())["more_body"]:
                pass
        except Exception as error:
            self.errors.append(error)
            raise
        if scope["path"] == "/fail":
            raise RuntimeError("a fault")
        watch = asyncio.create_task(self._watch(receive))
        if scope["path"] == "/read":
            await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await self.may_answer.wait()
        await send({"type": "http.response.body", "body": b"done"})
        watch.cancel()
        await self.may_leave.wait()

    async def _watch(self, receive: Receive) -> None:
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except Exception as error:
            self.errors.append(error)
            raise


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    for name in ("time", "call_at", "call_later"):
        monkeypatch.setattr(loop, name, getattr(clock, name))
    return clock


@pytest.fixture(params=[HttpToolsProtocol, H11Protocol], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever reads HTTP."""
    monkeypatch.setattr("allod.api.connection.AutoHTTPProtocol", request.param)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def wire() -> Wire:
    return Wire()


def connected(app: ASGIApp, wire: Wire, *, others: int = 0) -> Connection:
    limits = ConnectionLimits(served=2, open=8, stalled_seconds=60.0, head_seconds=HEAD_SECONDS)
    state = ServerState()
    state.connections.update(object() for _ in range(others))  # type: ignore[misc]
    config = Config(
        ExchangeBorder(Arrival(app, GAP_SECONDS)),
        log_config=None,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
    )
    config.load()
    connection = Connection(limits, server_state=state, app_state={}, config=config)
    connection.connection_made(wire)
    return connection


@pytest.fixture
async def connection(clock: Clock, server: Server, wire: Wire) -> AsyncIterator[Connection]:
    connection = connected(server, wire)
    yield connection
    server.may_leave.set()
    connection.connection_lost(None)
    await settle()


def is_timeout(reply: bytes) -> bool:
    head, _, body = reply.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    error = json.loads(body)["error"]
    is_named = "api.head_seconds" in error["message"] and any(
        line.startswith(b"x-request-id: req-") for line in lines
    )
    is_framed = {b"connection: close", b"content-length: %d" % len(body)} <= set(lines)
    return (
        lines[0] == b"http/1.1 408 request timeout"
        and error["code"] == "request_timeout"
        and is_named
        and is_framed
    )


# ---------------------------------------------------------------- heads


@pytest.mark.usefixtures("connection")
async def test_who_says_nothing_is_hung_up_on(clock: Clock, wire: Wire) -> None:
    """After its time and not before, without a word: it asked for nothing."""
    await clock.passes(HEAD_SECONDS - 1)
    assert not wire.is_closed
    await clock.passes(1)
    assert (wire.is_closed, wire.sent) == (True, b"")


async def test_half_a_head_gets_a_408(clock: Clock, wire: Wire, connection: Connection) -> None:
    """Its time runs from its first byte; bytes that trickle do not lengthen it."""
    await clock.passes(HEAD_SECONDS - 1)
    for number in range(int(HEAD_SECONDS)):
        assert (wire.is_closed, wire.sent) == (False, b"")
        connection.data_received(GET[number : number + 1])
        await clock.passes(1)
    assert wire.is_closed
    assert is_timeout(wire.sent)


async def test_who_is_one_too_many_has_less_time(clock: Clock, server: Server) -> None:
    """Its place is for saying no."""
    wires = [Wire(), Wire()]
    for wire, data in zip(wires, (b"", b"GET"), strict=True):
        connection = connected(server, wire, others=2)
        if data:
            connection.data_received(data)
    await clock.passes(CROWDED_SECONDS)
    silent, asking = wires
    assert (silent.is_closed, silent.sent) == (True, b"")
    assert asking.is_closed
    assert is_timeout(asking.sent)


async def test_who_waits_for_an_answer_has_all_the_time(
    clock: Clock, wire: Wire, connection: Connection, server: Server
) -> None:
    """Nor does anything that it sends meanwhile start the clock, such as half of its next request."""
    connection.data_received(GET)
    await clock.passes(LONG_SECONDS)
    connection.data_received(GET[:5])
    await clock.passes(LONG_SECONDS)
    assert not wire.is_closed
    server.may_answer.set()
    await clock.passes(0)
    assert not wire.is_closed
    assert wire.sent.endswith(b"done")


async def test_an_idle_connection_is_not_ours_to_close(
    clock: Clock, wire: Wire, connection: Connection, server: Server
) -> None:
    """Uvicorn closes it when its own time is over."""
    server.may_answer.set()
    connection.data_received(GET)
    await clock.passes(IDLE_SECONDS - 1)
    assert not wire.is_closed
    wire.take()
    await clock.passes(1)
    assert (wire.is_closed, wire.sent) == (True, b"")


@pytest.mark.parametrize("first", [GET, POST + b"abcdef"])
async def test_every_head_of_a_connection_has_its_time(
    clock: Clock, wire: Wire, connection: Connection, server: Server, first: bytes
) -> None:
    """The second one too, from its own first byte, whatever is left to do behind the first answer."""
    server.may_answer.set()
    connection.data_received(first)
    await clock.passes(IDLE_SECONDS - 1)
    wire.take()
    connection.data_received(GET[:5])
    await clock.passes(HEAD_SECONDS - 1)
    assert (wire.is_closed, wire.sent) == (False, b"")
    connection.data_received(GET[5:])
    await clock.passes(1)
    assert wire.take().endswith(b"done")
    connection.data_received(GET[:5])
    await clock.passes(HEAD_SECONDS)
    assert wire.is_closed
    assert is_timeout(wire.sent)


async def test_a_fault_of_ours_changes_nothing(clock: Clock, wire: Wire, connection: Connection) -> None:
    """It is answered, and the next head has its time."""
    connection.data_received(GET.replace(b"/", b"/fail", 1))
    await clock.passes(0)
    assert wire.take().startswith(b"HTTP/1.1 500")
    connection.data_received(GET[:5])
    await clock.passes(HEAD_SECONDS)
    assert is_timeout(wire.sent)


async def test_requests_in_one_piece_are_all_answered(
    clock: Clock, wire: Wire, connection: Connection, server: Server
) -> None:
    """However long each takes."""
    connection.data_received(GET + POST + b"abcdef" + POST_UNREAD + b"abcdef" + GET)
    await clock.passes(LONG_SECONDS)
    server.may_answer.set()
    server.may_leave.set()
    await clock.passes(0)
    assert wire.sent.count(b"done") == 4
    assert not server.errors
    assert not wire.is_closed


async def test_a_connection_that_is_over_sets_no_timer(
    clock: Clock, wire: Wire, connection: Connection, server: Server
) -> None:
    """Though the server notices later."""
    connection.data_received(POST_UNREAD + b"abc")
    await clock.passes(0)
    connection.connection_lost(None)
    wire.is_closed = False
    server.may_answer.set()
    await clock.passes(LONG_SECONDS)
    assert not wire.is_closed


# ---------------------------------------------------------------- bodies


async def test_a_body_may_take_long_but_not_pause(
    clock: Clock, wire: Wire, connection: Connection, server: Server
) -> None:
    """Each piece has its own time, and behind the last one there is none."""
    connection.data_received(POST)
    for number in range(6):
        await clock.passes(GAP_SECONDS - 1)
        assert (wire.is_closed, wire.sent) == (False, b"")
        connection.data_received(b"abcdef"[number : number + 1])
    await clock.passes(LONG_SECONDS)
    assert not server.errors
    server.may_answer.set()
    await clock.passes(0)
    assert wire.sent.endswith(b"done")


async def test_a_body_that_pauses_is_refused(clock: Clock, connection: Connection, server: Server) -> None:
    """The application hears it as an error that names the setting."""
    connection.data_received(POST + b"abc")
    await clock.passes(GAP_SECONDS - 1)
    assert not server.errors
    await clock.passes(1)
    (error,) = server.errors
    assert "api.body_gap_seconds" in str(error)


async def test_an_answer_that_has_begun_is_not_cut_for_the_bodys_sake(
    clock: Clock, wire: Wire, connection: Connection, server: Server
) -> None:
    """What never reads the body sends its answer, however long that takes."""
    connection.data_received(POST_UNREAD + b"abc")
    await clock.passes(LONG_SECONDS)
    assert not wire.is_closed
    assert not server.errors
    server.may_answer.set()
    await clock.passes(0)
    assert wire.sent.endswith(b"done")


async def test_the_rest_of_a_body_that_nobody_reads_has_its_time(
    clock: Clock, wire: Wire, connection: Connection, server: Server
) -> None:
    """Then the connection is closed without a word: the request was answered."""
    server.may_answer.set()
    connection.data_received(POST_UNREAD + b"abc")
    await clock.passes(1)
    assert wire.take().endswith(b"done")
    connection.data_received(b"d")
    await clock.passes(HEAD_SECONDS - 2)
    assert not wire.is_closed
    await clock.passes(1)
    assert (wire.is_closed, wire.sent) == (True, b"")


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("origin", Turn)
@pytest.mark.parametrize("target", Turn)
def test_only_the_moves_of_the_table_exist(origin: Turn, target: Turn) -> None:
    """All others are faults of ours."""
    if target in MOVES[origin]:
        assert move(origin, target) is target
    else:
        with pytest.raises(RuntimeError, match=f"from {origin.name} to {target.name}"):
            move(origin, target)
