"""The worker's end of its socket."""

import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from allod.core.ids import RequestId, SequenceId
from allod.core.messages import Cancel, Embedded, Emission, Stepped, encode, report_decoder
from allod.worker.channel import Channel, Closed

PATIENCE_SECONDS = 10
Ends = tuple[Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A channel, and the gateway's end of it."""
    gateway, worker = socket.socketpair()
    gateway.settimeout(PATIENCE_SECONDS)
    channel = Channel(worker)
    yield channel, gateway
    gateway.close()
    channel.close()


def step(number: int) -> Stepped:
    return Stepped((Emission(SequenceId(1), (number,)),))


def test_a_report_is_on_its_way_when_send_returns(ends: Ends) -> None:
    """No other thread has to get its turn first: the one that sends may go on computing for long."""
    channel, gateway = ends
    gateway.settimeout(0)
    for number in range(50):
        channel.send(step(number))
        assert gateway.recv(1 << 16) == encode(step(number))


def test_a_gateway_that_does_not_read_keeps_nobody_waiting(ends: Ends) -> None:
    """It gets everything later, whole and in order, however little the socket took, and goes on as before."""
    channel, gateway = ends
    long = Embedded(RequestId("r"), (bytes(3 << 20),))
    sent = [step(1), long, step(2), long, *map(step, range(3, 200))]
    for report in sent:
        channel.send(report)
    heard, decoder = [], report_decoder()
    while len(heard) < len(sent):
        heard += decoder.feed(gateway.recv(1 << 16))
    assert heard == sent
    gateway.settimeout(0)
    deadline = time.monotonic() + PATIENCE_SECONDS
    for number in itertools.count():  # at once again, as soon as the writer knows that it wrote the last one
        channel.send(step(number))
        with suppress(BlockingIOError):
            if gateway.recv(1 << 16) == encode(step(number)):
                break
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_gateway_that_is_gone_is_told_of_once(ends: Ends) -> None:
    """Reports to it are dropped; what it said before is heard first."""
    channel, gateway = ends
    cancel = Cancel((SequenceId(1),))
    gateway.sendall(encode(cancel))
    gateway.close()
    assert channel.receive(wait=True) == cancel
    assert isinstance(channel.receive(wait=True), Closed)
    channel.send(step(1))
    assert channel.receive(wait=False) is None
