"""The loop between a socket and an encoder: batches, turns, refusals, and an orderly end."""

import socket
import threading
from collections.abc import Iterator

import pytest
from tests.scaffolding.worker_end import WorkerEnd

from allod.core.ids import RequestId, SequenceId
from allod.core.messages import (
    Cancel,
    Drain,
    Embed,
    Embedded,
    Inspect,
    PrefillProgress,
    Ready,
    Refused,
    Status,
    Stepped,
)
from allod.core.ports import Encoder
from allod.engine.settings import EngineSettings
from allod.testing.encoder import FakeEncoder, vector_of
from allod.testing.models import submission
from allod.worker.channel import Channel
from allod.worker.encoding import BATCH_TOKENS, EncoderLoop
from allod.worker.loop import EXIT_ORDERLY, attend


class Gateway(WorkerEnd):
    """The end of a worker that embeds. `gate` holds the batches back."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.encoder = FakeEncoder(self._pass_gate)
        super().__init__(self._serve)

    def _serve(self, worker_end: socket.socket) -> int:
        def drive(channel: Channel, encoder: Encoder) -> None:
            EncoderLoop(channel, encoder, EngineSettings(max_queued_requests=2)).run()

        def load(_: object) -> Encoder:
            return self.encoder

        return attend(worker_end, load, drive)

    def _pass_gate(self) -> None:
        assert self.gate.acquire(timeout=10)

    def leave(self) -> None:
        self.close()
        self.gate.release(100)
        self.join()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    assert isinstance(gateway.next(), Ready)
    yield gateway
    gateway.leave()


def embed(number: int, *rows: tuple[int, ...]) -> Embed:
    return Embed(RequestId(f"r{number}"), (SequenceId(number),), rows)


LONG = tuple(range(60)) * 60
MANY = tuple(LONG[: 3000 + index] for index in range(5))


def test_vectors_come_in_the_order_of_the_rows(gateway: Gateway) -> None:
    """Whatever order the batches have."""
    rows = ((1, 2), (3,), (4, 5, 6, 7), (8, 9))
    gateway.gate.release()
    gateway.send(embed(1, *rows))
    assert gateway.next() == Embedded(RequestId("r1"), tuple(map(vector_of, rows)))
    assert gateway.encoder.batches == [[1, 2, 2, 4]]


def test_a_batch_holds_a_bounded_number_of_tokens(gateway: Gateway) -> None:
    """Padding included; rows of like length share one, and progress is told after each."""
    gateway.gate.release(100)
    gateway.send(embed(1, *MANY))
    reports = [gateway.next() for _ in range(3)]
    assert gateway.encoder.batches == [[3003, 3004], [3001, 3002], [3000]]
    assert all(max(batch) * len(batch) <= BATCH_TOKENS for batch in gateway.encoder.batches)
    total = sum(map(len, MANY))
    assert reports[0] == Stepped((), (PrefillProgress(RequestId("r1"), 6007, total),))
    assert reports[2] == Embedded(RequestId("r1"), tuple(map(vector_of, MANY)))


def test_requests_take_turns(gateway: Gateway) -> None:
    """A short request waits for a batch of a long one, not for all of it."""
    gateway.send(embed(1, *MANY, *MANY, *MANY), embed(2, (1,)))
    done: list[str] = []
    while len(done) < 2:
        gateway.gate.release()
        report = gateway.next()
        done += [report.request] if isinstance(report, Embedded) else []
    assert done == ["r2", "r1"]


def test_what_is_cancelled_is_not_computed(gateway: Gateway) -> None:
    """The batch that is under way is finished, the others are not begun, and nothing is reported."""
    gateway.send(embed(1, *MANY), embed(2, (1,)))
    gateway.gate.release()
    first = gateway.next()
    gateway.send(Cancel((SequenceId(1),)))
    gateway.gate.release(100)
    done = []
    while not done:
        report = gateway.next()
        done += [report] if isinstance(report, Embedded) else []
    gateway.send(Inspect())
    status = gateway.next()
    while not isinstance(status, Status):
        status = gateway.next()
    assert isinstance(first, Stepped)
    assert done[0].request == "r2"
    assert status.prefilling + status.queued == 0


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ((), "invalid"),
        (((),), "invalid"),
        (((1, 97),), "invalid"),
        (((-1,),), "invalid"),
        (((1,) * 4097,), "context"),
    ],
)
def test_rows_that_cannot_be_computed_are_refused(
    gateway: Gateway, rows: tuple[tuple[int, ...], ...], reason: str
) -> None:
    """None of them reaches the encoder."""
    gateway.send(embed(1, *rows))
    refused = gateway.next()
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert gateway.encoder.batches == []


def test_a_full_queue_refuses(gateway: Gateway) -> None:
    """With a time to come back."""
    gateway.send(*(embed(number, *MANY) for number in range(8)))
    refused = gateway.next()
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after_seconds) == ("queue_full", 1)


def test_text_is_not_generated_here(gateway: Gateway) -> None:
    """A Submit is refused in words that the client can act on."""
    gateway.send(submission())
    refused = gateway.next()
    assert isinstance(refused, Refused)
    assert "generates none" in refused.message


def test_draining_finishes_what_was_accepted(gateway: Gateway) -> None:
    """Then the process ends in an orderly way."""
    gateway.send(embed(1, (1,)), Drain())
    gateway.gate.release(100)
    assert isinstance(gateway.next(), Embedded)
    gateway.join()
    assert gateway.code == EXIT_ORDERLY
