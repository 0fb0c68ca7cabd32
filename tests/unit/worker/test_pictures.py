"""The loop between a socket and a preprocessor: answers in turn, what stays, refusals, an orderly end."""

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
    Inspect,
    Prepare,
    Prepared,
    Ready,
    Refused,
    Status,
    Supply,
)
from allod.core.pictures import Digest, PictureRefused, PreparedPicture, Tensor
from allod.core.ports import Preprocessor
from allod.core.step import MemoryReading, ModelFacts
from allod.testing.models import TINY, submission
from allod.worker import pictures
from allod.worker.channel import Channel
from allod.worker.loop import EXIT_ORDERLY, attend
from allod.worker.pictures import PictureLoop

KEPT_BYTES = 100


class Preparer:
    """Makes of every file as many bytes of tensors as its name says; `gate` holds it back."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.made: list[bytes] = []

    @property
    def facts(self) -> ModelFacts:
        return TINY

    def prepare(self, file: bytes, form: str, max_pixels: int) -> PreparedPicture:
        assert self.gate.acquire(timeout=10)
        self.made.append(file)
        if file == b"broken":
            raise PictureRefused("is broken; send another")
        size = int(file)
        return PreparedPicture((1, max_pixels, *form.encode()), (tensor(size),))

    def memory(self) -> MemoryReading:
        return MemoryReading(1, 2, 3)


def tensor(size: int) -> Tensor:
    return Tensor("pixels", "uint8", (size,), bytes(size))


class Gateway(WorkerEnd):
    """The end of a worker that prepares pictures."""

    def __init__(self) -> None:
        self.preparer = Preparer()
        super().__init__(self._serve)

    def _serve(self, worker_end: socket.socket) -> int:
        def drive(channel: Channel, preprocessor: Preprocessor) -> None:
            PictureLoop(channel, preprocessor, KEPT_BYTES).run()

        def load(_: object) -> Preprocessor:
            return self.preparer

        return attend(worker_end, load, drive)

    def leave(self) -> None:
        self.close()
        self.preparer.gate.release(100)
        self.join()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    assert gateway.next() == Ready(TINY)
    yield gateway
    gateway.leave()


def prepare(number: int, file: bytes = b"30", *, wants_tensors: bool = False) -> Prepare:
    """The digest is the file's; the request's number and the sequence are the same."""
    digest = Digest(file.ljust(32))
    return Prepare(RequestId(f"p{number}"), (SequenceId(number),), digest, file, "F", 77, wants_tensors)


def test_tokens_alone_or_with_tensors(gateway: Gateway) -> None:
    """As it was asked for; the size is told in both cases."""
    gateway.preparer.gate.release(100)
    gateway.send(prepare(1), prepare(2, b"40", wants_tensors=True))
    assert gateway.next() == Prepared(RequestId("p1"), (1, 77, ord("F")), 30)
    assert gateway.next() == Prepared(RequestId("p2"), (1, 77, ord("F")), 40, (tensor(40),))


def test_what_was_made_stays_for_whoever_asks_next(gateway: Gateway) -> None:
    """Its place first and its tensors afterwards are one decoding."""
    gateway.preparer.gate.release(100)
    gateway.send(prepare(1), prepare(2, wants_tensors=True))
    answers = [gateway.next(), gateway.next()]
    assert all(isinstance(answer, Prepared) for answer in answers)
    assert gateway.preparer.made == [b"30"]


def test_what_was_used_longest_ago_leaves_first(gateway: Gateway) -> None:
    """When the tensors together are too many bytes; the newest stays whatever its size."""
    gateway.preparer.gate.release(100)
    files = [b"30", b"40", b"30", b"31", b"30", b"40", b"1000", b"1000", b"30"]
    gateway.send(*(prepare(number, file) for number, file in enumerate(files)))
    for _ in files:
        assert isinstance(gateway.next(), Prepared)
    assert gateway.preparer.made == [b"30", b"40", b"31", b"40", b"1000", b"30"]


def test_a_picture_that_cannot_be_looked_at_is_refused_in_its_own_words(gateway: Gateway) -> None:
    """The loop goes on, and a second attempt is refused as the first was."""
    gateway.preparer.gate.release(100)
    gateway.send(prepare(1, b"broken"), prepare(2, b"broken"), prepare(3))
    for number in (1, 2):
        assert gateway.next() == Refused(RequestId(f"p{number}"), "invalid", "is broken; send another")
    assert isinstance(gateway.next(), Prepared)


def test_what_fits_no_frame_is_refused(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Already when its place is asked for: a frame that is too long would end the conversation."""
    monkeypatch.setattr(pictures, "MOST_TENSOR_BYTES", 2**20)
    gateway.preparer.gate.release(100)
    gateway.send(prepare(1, b"3145728"), prepare(2))
    refused = gateway.next()
    assert isinstance(refused, Refused)
    assert refused.message == (
        "takes 3 MiB as the model reads it, and at most 1 MiB pass between processes; send a smaller one, or "
        "ask for low detail"
    )
    assert isinstance(gateway.next(), Prepared)


def test_what_is_cancelled_is_not_prepared(gateway: Gateway) -> None:
    """What is under way is finished and told; what waits is not begun."""
    gateway.send(prepare(1, b"10"))
    gateway.preparer.gate.release()
    assert isinstance(gateway.next(), Prepared)
    gateway.send(prepare(2, b"20"), prepare(3, b"30"), prepare(4, b"40"), Cancel((SequenceId(3),)), Inspect())
    # Held back at the first of the three, the loop takes the rest of the commands when it is let go.
    gateway.preparer.gate.release(100)
    answers = [gateway.next() for _ in range(3)]
    assert {answer.request for answer in answers if isinstance(answer, Prepared)} == {"p2", "p4"}
    assert sum(isinstance(answer, Status) for answer in answers) == 1
    assert b"30" not in gateway.preparer.made


def test_foreign_commands_are_refused_or_dropped(gateway: Gateway) -> None:
    """Texts are refused in words; a Supply has nobody to refuse to."""
    gateway.send(
        submission(),
        Embed(RequestId("e"), (SequenceId(9),), ((1,),)),
        Supply(Digest(bytes(32)), ()),
        Inspect(),
    )
    for _ in range(2):
        refused = gateway.next()
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.message) == (
            "invalid",
            "this process prepares pictures and does nothing else",
        )
    status = gateway.next()
    assert isinstance(status, Status)
    assert (status.queued, status.steps, status.memory) == (0, 0, MemoryReading(1, 2, 3))


def test_draining_finishes_what_was_accepted(gateway: Gateway) -> None:
    """Then the process ends in an orderly way."""
    gateway.send(prepare(1), prepare(2), Drain())
    gateway.preparer.gate.release(100)
    assert [type(gateway.next()) for _ in range(2)] == [Prepared, Prepared]
    gateway.join()
    assert gateway.code == EXIT_ORDERLY


def test_the_loop_ends_when_the_gateway_is_gone(gateway: Gateway) -> None:
    """Whatever waits is nobody's any more."""
    gateway.send(*(prepare(number) for number in range(5)))
    gateway.leave()
    assert gateway.code == EXIT_ORDERLY
    assert len(gateway.preparer.made) <= 1
