"""Which pictures are asked for, and when a tower works on them."""

from allod.core.ids import RequestId, SequenceId, TenantId
from allod.core.messages import Wanted
from allod.core.pictures import Digest, PictureSpan, Sight
from allod.core.sampling import Sampling
from allod.core.step import Encode, Encoded
from allod.engine.looking import Looking
from allod.engine.pacing import STALL_SHARE, Beside, PrefillPacer
from allod.engine.sequence import Job, Phase

WORDS = 3
LENGTH = 4
SIZE = 40


def digest(number: int) -> Digest:
    return Digest(bytes([number] * 32))


def job(*pictures: int, name: str = "r") -> Job:
    """Three words, then the pictures with a word after each."""
    spans = tuple(
        PictureSpan(WORDS + place * (LENGTH + 1), LENGTH, digest(number), SIZE)
        for place, number in enumerate(pictures)
    )
    tokens = tuple(range(WORDS + len(pictures) * (LENGTH + 1) + 1))
    made = Job(RequestId(name), TenantId("t"), tokens, 3, frozenset(), ticket=1, pictures=spans)
    made.add(SequenceId(1), Sampling())
    made.move(Phase.PREFILLING)
    return made


def looking(cache_bytes: int = 1000) -> Looking:
    return Looking(Sight(0, 2, 1.0, 0.0, cache_bytes), PrefillPacer(64, 0.1))


def look(at: Looking, reader: Job) -> None:
    """Supply the picture that is next, and look at all of it."""
    span = reader.unread_pictures[0]
    assert at.supply(span.digest)
    assert at.encode(reader, Beside.NOBODY) is not None
    assert at.commit(Encoded(span.digest, 5, 0))


def test_the_next_picture_and_the_one_after_it_are_asked_for():
    """Each once, in one report for their request; the third waits for its turn."""
    at, reader = looking(), job(1, 2, 3)
    assert at.ask(reader) == ()
    assert at.ask(reader) == ()
    assert at.take_wanted() == [Wanted(RequestId("r"), (digest(1), digest(2)))]
    assert at.take_wanted() == []


def test_a_picture_that_stands_twice_is_asked_for_once():
    """It is one picture, whatever number of places it has."""
    at = looking()
    at.ask(job(1, 1))
    assert at.take_wanted() == [Wanted(RequestId("r"), (digest(1),))]


def test_words_before_a_picture_are_read_while_it_is_missing():
    """The prompt waits only where the picture itself is next."""
    at, reader = looking(), job(1)
    at.ask(reader)
    chunk = at.chunk(reader, 16)
    assert chunk is not None
    assert chunk.tokens == (0, 1, 2)
    assert at.chunk(reader, 16) is None
    assert at.encode(reader, Beside.NOBODY) is None
    assert at.waits(reader)


def test_a_picture_that_came_is_looked_at_with_its_own_tokens():
    """For as long as a step may take beside what it decodes; the prompt waits for nobody then."""
    at, reader = looking(), job(1)
    at.ask(reader)
    at.supply(digest(1))
    assert not at.waits(reader)
    allowed = STALL_SHARE * 0.1
    assert at.encode(reader, Beside.STREAMS) == Encode(digest(1), (3, 4, 5, 6), allowed)
    assert at.commit(Encoded(digest(1), 1, 4))
    assert at.seen_count == 0


def test_the_second_picture_is_not_looked_at_before_its_turn():
    """It was only brought near."""
    at, reader = looking(), job(1, 2)
    at.ask(reader)
    at.supply(digest(2))
    assert at.encode(reader, Beside.NOBODY) is None
    assert at.waits(reader)


def test_what_was_seen_is_read_and_not_asked_for_again():
    """Another prompt with the same picture finds it on the shelf."""
    at, first = looking(), job(1)
    at.ask(first)
    look(at, first)
    at.take_wanted()
    second = job(1, name="s")
    assert at.ask(second) == ()
    assert at.take_wanted() == []
    chunk = at.chunk(second, 100)
    assert chunk is not None
    assert [part.length for part in chunk.pictures] == [LENGTH]
    assert at.seen_count == 1


def test_a_step_that_found_nothing_left_teaches_nothing():
    """The runner had finished in the step before; the time was that of others."""
    at, reader = looking(), job(1)
    at.ask(reader)
    at.supply(digest(1))
    assert at.encode(reader, Beside.NOBODY) is not None
    assert at.encode(reader, Beside.NOBODY) is not None
    assert at.commit(Encoded(digest(1), 5, 0))
    assert not at.commit(Encoded(digest(1), 0, 0))
    assert at.seen_count == 1


def test_what_nobody_waits_for_any_more_is_turned_away():
    """A cancelled prompt's pictures are not taken, and their room is free at once."""
    at, reader = looking(), job(1, 2)
    at.ask(reader)
    assert at.held_bytes == 2 * (SIZE + 2 * LENGTH)
    at.withdraw(reader)
    assert at.held_bytes == 0
    assert not at.supply(digest(1))


def test_a_picture_ahead_does_not_push_out_the_one_that_is_next():
    """Where only one fits, the second is asked for when the first was read."""
    at, reader = looking(cache_bytes=SIZE + 2 * LENGTH), job(1, 2)
    at.ask(reader)
    assert at.take_wanted() == [Wanted(RequestId("r"), (digest(1),))]
    look(at, reader)
    at.ask(reader)
    assert at.take_wanted() == []
    assert at.chunk(reader, 100) is not None
    assert at.ask(reader) == (digest(1),)
    assert at.take_wanted() == [Wanted(RequestId("r"), (digest(2),))]


def test_the_one_ahead_does_not_leave_for_the_one_that_is_next():
    """If both fit they stay, although the second was used longer ago than anything else."""
    at = looking(cache_bytes=SIZE + 4 * LENGTH)
    for number in (2, 9):
        other = job(number, name=f"r{number}")
        at.ask(other)
        look(at, other)
    at.take_wanted()
    reader = job(1, 2)
    assert at.ask(reader) == (digest(9),)
    assert at.take_wanted() == [Wanted(RequestId("r"), (digest(1),))]
