"""The engine loop and pictures: it asks, waits without spinning, goes on when they come, can be stopped."""

from collections.abc import Iterator

import pytest
from tests.scaffolding.worker_end import WorkerEnd

from allod.core.ids import RequestId, SequenceId
from allod.core.messages import (
    Admitted,
    Cancel,
    Drain,
    Inspect,
    Prepare,
    Ready,
    Refused,
    Status,
    Stepped,
    Submit,
    Supply,
    Wanted,
)
from allod.core.pictures import Digest, PictureSpan, Sight, Tensor
from allod.engine.settings import EngineSettings
from allod.testing.models import submission, tiny_facts
from allod.testing.runner import FakeRunner, expected_tokens
from allod.worker.loop import EXIT_ORDERLY, serve

FACTS = tiny_facts(sight=Sight(0, 2, 1.0, 0.0, 1000))
A, B = (Digest(bytes([number] * 32)) for number in (1, 2))
SIZE = 50


class Gateway(WorkerEnd):
    """The end of a worker that sees."""

    def __init__(self) -> None:
        super().__init__(lambda worker_end: serve(worker_end, lambda _: FakeRunner(FACTS), EngineSettings()))

    def wanted(self) -> Wanted:
        while not isinstance(report := self.next(), Wanted):
            assert isinstance(report, Admitted | Stepped)
        return report

    def status(self) -> Status:
        self.send(Inspect())
        while not isinstance(report := self.next(), Status):
            pass
        return report

    def tokens(self, sequence: int) -> tuple[int, ...]:
        """What a sequence says until it finishes."""
        said: list[int] = []
        while True:
            report = self.next()
            for emission in report.emissions if isinstance(report, Stepped) else ():
                if emission.sequence == sequence:
                    said += emission.tokens
                    if emission.finish:
                        return tuple(said)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    assert gateway.next() == Ready(FACTS)
    yield gateway
    gateway.leave()


def submit(number: int, *pictures: Digest) -> Submit:
    """Two words, and each picture with a word behind it."""
    spans = tuple(PictureSpan(2 + 6 * place, 5, digest, SIZE) for place, digest in enumerate(pictures))
    return submission(tokens=tuple(range(3 + 6 * len(pictures))), first=number, pictures=spans)


def answer(asked: Submit) -> tuple[int, ...]:
    return expected_tokens(
        asked.tokens, asked.samplings[0], vocabulary=97, max_tokens=8, pictures=asked.pictures
    )


def supply(digest: Digest) -> Supply:
    return Supply(digest, (Tensor("pixels", "uint8", (SIZE,), bytes(SIZE)),))


def hungry(gateway: Gateway) -> Status:
    """The status of a worker that makes no step any more, because it waits."""
    before = gateway.status()
    while (after := gateway.status()).steps != before.steps:
        before = after
    return after


def test_pictures_that_come_late_are_waited_for(gateway: Gateway) -> None:
    """They are asked for once, no step is made meanwhile, and the answer is that to the pictures."""
    asked = submit(1, A, B)
    gateway.send(asked)
    assert gateway.wanted() == Wanted(asked.request, (A, B))
    waiting = hungry(gateway)
    assert (waiting.prefilling, waiting.rows) == (1, 0)
    gateway.send(supply(B), supply(A))
    assert gateway.tokens(1) == answer(asked)
    done = gateway.status()
    assert (done.seen_pictures, done.picture_bytes) == (2, 2 * 5 * 2)


def test_a_picture_that_is_known_is_not_asked_for(gateway: Gateway) -> None:
    """The next request with it goes through at once."""
    first, second = submit(1, A), submit(2, A)
    gateway.send(first)
    gateway.wanted()
    gateway.send(supply(A), supply(A))
    assert gateway.tokens(1) == answer(first)
    gateway.send(second)
    assert gateway.tokens(2) == answer(second)
    assert gateway.status().seen_pictures == 1


def test_a_request_can_be_cancelled_while_it_waits(gateway: Gateway) -> None:
    """Its picture is dropped when it comes after all, and whoever is next goes on."""
    asked, other = submit(1, A), submit(2)
    gateway.send(asked)
    gateway.wanted()
    hungry(gateway)
    gateway.send(other, Cancel((SequenceId(1),)), supply(A))
    assert gateway.tokens(2) == answer(other)
    status = gateway.status()
    assert (status.prefilling, status.queued, status.picture_bytes) == (0, 0, 0)


def test_a_picture_that_comes_first_can_be_cancelled(gateway: Gateway) -> None:
    """The runner has nothing of such a prompt yet, so it is not asked to forget it."""
    asked = submission(prompt=10, first=1, pictures=(PictureSpan(0, 5, A, SIZE),))
    gateway.send(asked)
    gateway.wanted()
    gateway.send(Cancel((SequenceId(1),)))
    other = submit(2)
    gateway.send(other)
    assert gateway.tokens(2) == answer(other)


def test_rows_speak_while_a_picture_is_missing(gateway: Gateway) -> None:
    """A prompt that waits holds up nobody who is past it."""
    asked = submit(1, A)
    gateway.send(submission(first=5, max_tokens=300), asked)
    wants, finishes = 0, 0
    while not (wants and finishes):
        report = gateway.next()
        wants += isinstance(report, Wanted)
        emissions = report.emissions if isinstance(report, Stepped) else ()
        finishes += any(emission.finish for emission in emissions)
    gateway.send(supply(A))
    assert gateway.tokens(1) == answer(asked)


def test_draining_waits_for_pictures(gateway: Gateway) -> None:
    """What was accepted is finished, although its picture comes after the Drain."""
    asked = submit(1, A)
    gateway.send(asked)
    gateway.wanted()
    hungry(gateway)
    gateway.send(Drain(), supply(A))
    assert gateway.tokens(1) == answer(asked)
    with pytest.raises(EOFError):
        gateway.next()
    gateway.join()
    assert gateway.code == EXIT_ORDERLY


def test_a_draining_worker_that_waits_can_be_left(gateway: Gateway) -> None:
    """The gateway is gone, so no picture will ever come."""
    gateway.send(submit(1, A))
    gateway.wanted()
    gateway.send(Drain())
    gateway.leave()
    assert gateway.code == EXIT_ORDERLY


def test_pictures_are_not_prepared_here(gateway: Gateway) -> None:
    """That is another process's work."""
    gateway.send(Prepare(RequestId("p"), (SequenceId(3),), A, b"", "", 1, wants_tensors=False))
    refused = gateway.next()
    assert isinstance(refused, Refused)
    assert (refused.request, refused.reason) == ("p", "invalid")
