"""One worker's conversation, without a worker: bytes in, bytes out."""

import asyncio

import pytest
from tests.scaffolding.local_house import Wire

from allod.core.errors import ModelUnavailable
from allod.core.ids import SequenceId
from allod.core.messages import (
    Admitted,
    Cancel,
    Emission,
    Inspect,
    LoadFailed,
    Loading,
    PrefillProgress,
    Refused,
    Report,
    Status,
    Stepped,
    Submit,
    Supply,
    Wanted,
    encode,
)
from allod.core.pictures import Digest
from allod.core.step import MemoryReading
from allod.local.link import Link, Mailbox
from allod.testing.models import submission


def connected() -> tuple[Link, Wire]:
    link, wire = Link(), Wire()
    link.connection_made(wire)
    return link, wire


def hear(link: Link, *reports: Report) -> None:
    link.data_received(b"".join(map(encode, reports)))


def opened(link: Link, choices: int = 1) -> tuple[Submit, Mailbox]:
    numbers = link.allocate(choices)
    submit = submission(choices=choices, first=numbers[0])
    return submit, link.open(submit)


async def test_reports_reach_the_request_they_are_about() -> None:
    """One frame of a step fans out to every mailbox it concerns, in order, and to no other."""
    link, wire = connected()
    (one, first), (two, second) = opened(link), opened(link, choices=2)
    assert wire.commands == [one, two]
    step = Stepped(
        (Emission(one.sequences[0], (1,)), Emission(two.sequences[1], (2,), "stop")),
        (PrefillProgress(two.request, 3, 4),),
    )
    hear(link, Admitted(one.request, 8, 0), Admitted(two.request, 8, 1), step)
    assert [await first.next() for _ in range(2)] == [Admitted(one.request, 8, 0), step.emissions[0]]
    assert [await second.next() for _ in range(3)] == [
        Admitted(two.request, 8, 1),
        step.progress[0],
        step.emissions[1],
    ]


async def test_frames_may_be_cut_anywhere() -> None:
    """The kernel's cuts do not matter: byte by byte gives the same letters."""
    link, _ = connected()
    submit, mailbox = opened(link)
    for byte in encode(Admitted(submit.request, 8, 0)):
        link.data_received(bytes((byte,)))
    assert await mailbox.next() == Admitted(submit.request, 8, 0)


async def test_sequence_ids_are_never_given_twice() -> None:
    """Ids stay unique for the life of the link."""
    link, _ = connected()
    numbers = [*link.allocate(3), *link.allocate(2)]
    assert len(set(numbers)) == 5


async def test_leaving_a_mailbox_cancels_what_is_unfinished() -> None:
    """Only sequences that still run are cancelled, once; what arrives for them later is dropped."""
    link, wire = connected()
    submit, mailbox = opened(link, choices=3)
    done, cut, running = submit.sequences
    with mailbox:
        hear(link, Stepped((Emission(done, (1,), "stop"),)))
        mailbox.cancel(cut)
        assert wire.commands[1:] == [Cancel((cut,))]
    assert wire.commands[2:] == [Cancel((running,))]
    hear(link, Stepped((Emission(running, (1,)),)))
    assert await mailbox.next() == Emission(done, (1,), "stop")
    assert link.silent_seconds() == 0.0


async def test_a_refused_submission_is_not_cancelled() -> None:
    """A worker is not told to forget what it never took."""
    link, wire = connected()
    submit, mailbox = opened(link)
    with mailbox:
        hear(link, Refused(submit.request, "memory", "too much"))
        assert isinstance(await mailbox.next(), Refused)
    assert len(wire.commands) == 1


async def test_a_loss_is_told_to_whoever_waits_and_to_whoever_comes() -> None:
    """After `lose` every unfinished mailbox ends with the message, and so does every new one."""
    link, _ = connected()
    (submit, finished), (_, waiting) = opened(link), opened(link)
    hear(link, Stepped((Emission(submit.sequences[0], (1,), "stop"),)))
    link.lose("gone")
    late = opened(link)[1]
    for mailbox in (waiting, late):
        with pytest.raises(ModelUnavailable, match="gone"):
            await mailbox.next()
    assert isinstance(await finished.next(), Emission)
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0):
            await finished.next()


async def test_nonsense_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are no report cannot be trusted to be followed by one."""
    link, wire = connected()
    link.data_received(b"\x00\x00\x00\x01\xc1")
    assert wire.aborted
    assert "no report" in caplog.text


async def test_nothing_is_written_to_a_closed_connection() -> None:
    """Commands to a worker that is gone are dropped quietly."""
    link, wire = connected()
    inspection = link.inspect()
    link.connection_lost(None)
    link.send(Inspect())
    assert wire.commands == [Inspect()]
    assert link.closed.done()
    assert inspection.cancelled()


async def test_silence_counts_only_while_answers_are_owed() -> None:
    """A worker that owes nothing is not silent; one that owes is, since it last spoke."""
    link, _ = connected()
    assert link.silent_seconds() == 0.0
    submit, mailbox = opened(link)
    await asyncio.sleep(0.01)
    before = link.silent_seconds()
    assert before > 0.0
    hear(link, Admitted(submit.request, 8, 0))
    assert link.silent_seconds() < before
    link.dismiss(mailbox)
    assert link.silent_seconds() == 0.0


async def test_inspections_are_answered_in_turn() -> None:
    """Each status answers the oldest inspection; one that nobody waits for any more takes its turn."""
    link, _ = connected()
    given_up, waiting = link.inspect(), link.inspect()
    given_up.cancel()
    first, second = (Status(rows, 0, 0, 0, 0, MemoryReading(0, 0, 0), 0) for rows in (1, 2))
    hear(link, first, second)
    assert await waiting == second
    assert link.status == second


async def test_loading_is_remembered() -> None:
    """The newest stage can be read at any time, and a refusal to load is kept."""
    link, _ = connected()
    hear(link, Loading("reading", 0.1), Loading("checking"), LoadFailed("no"))
    assert link.loading == Loading("checking")
    assert await link.loaded == LoadFailed("no")
    assert SequenceId(1) == link.allocate(1)[0]


async def test_a_worker_that_waits_for_pictures_owes_nothing() -> None:
    """Until each one it asked for was sent, or its request is gone; then it owes again, from that moment."""
    link, wire = connected()
    asked: list[Digest] = []
    numbers = link.allocate(1)
    submit = submission(first=numbers[0])
    mailbox = link.open(submit, lambda _, digests: asked.extend(digests))
    one, two = (Digest(bytes([number] * 32)) for number in (1, 2))
    hear(link, Wanted(submit.request, (one, two)))
    await asyncio.sleep(0.02)
    assert (asked, link.silent_seconds()) == ([one, two], 0.0)
    mailbox.supply(Supply(one, ()))
    await asyncio.sleep(0.02)
    assert link.silent_seconds() == 0.0
    mailbox.supply(Supply(two, ()))
    assert wire.commands == [submit, Supply(one, ()), Supply(two, ())]
    await asyncio.sleep(0.02)
    assert link.silent_seconds() > 0.0
    hear(link, Wanted(submit.request, (one,)))
    opened(link)
    link.dismiss(mailbox)
    await asyncio.sleep(0.02)
    assert link.silent_seconds() > 0.0


class Pausing(Wire):
    """Notes whether it is being read from."""

    reads = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


async def test_a_flood_of_steps_is_heard_in_turns() -> None:
    """One turn of the loop hands out a bounded number of letters; meanwhile the worker has to wait."""
    link, wire = Link(), Pausing()
    link.connection_made(wire)
    (submit, mailbox), turns = opened(link), 0
    steps = [Stepped((Emission(submit.sequences[0], (number,)),)) for number in range(8000)]
    hear(link, *steps)
    assert not wire.reads
    while not wire.reads:
        turns += 1
        await asyncio.sleep(0)
    assert 2 < turns < 100
    heard = [await mailbox.next() for _ in steps]
    assert heard == [step.emissions[0] for step in steps]


async def test_what_a_worker_said_before_it_went_is_heard() -> None:
    """A connection that ends in the middle of a flood loses no letter."""
    link, wire = Link(), Pausing()
    link.connection_made(wire)
    submit, mailbox = opened(link)
    hear(link, *[Stepped((Emission(submit.sequences[0], (number,)),)) for number in range(2000)])
    link.connection_lost(None)
    link.lose("gone")
    heard = [await mailbox.next() for _ in range(2000)]
    assert heard[-1] == Emission(submit.sequences[0], (1999,))
    with pytest.raises(ModelUnavailable):
        await mailbox.next()
