"""What goes to disk, and what comes back: a second process that knows nothing answers as the first did."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scaffolding.fake_worker import SIGHT
from tests.unit.engine.test_prefixes import House

from allod.core.blocks import BLOCK_TOKENS, Load, Store
from allod.core.ids import SequenceId, TenantId
from allod.core.messages import Submit
from allod.core.pictures import Digest, PictureSpan
from allod.core.step import LayerState
from allod.engine.settings import EngineSettings
from allod.testing.archive import FakeArchive
from allod.testing.models import submission

SECOND = 100
FULL = LayerState("full", 1, bytes_per_token=10, fixed_bytes=0, window_tokens=None)


def prompt(length: int, number: int = 0, **changes: object) -> Submit:
    """Prompts of one text, whatever their number."""
    tokens = tuple((place * 7 + place // 11) % 90 for place in range(length))
    return msgspec.structs.replace(submission(first=number), tokens=tokens, **changes)


def stored(archive: FakeArchive, length: int = 700) -> tuple[int, ...]:
    """What a house says to a prompt that it is asked twice, so that its blocks are stored."""
    house = House(archive=archive)
    answer = house.ask(prompt(length))
    assert not archive.blocks
    assert house.ask(prompt(length, SECOND)) == answer
    assert len(archive.blocks) == (length - 1) // BLOCK_TOKENS
    return answer


def test_a_block_is_stored_at_its_second_use_and_once() -> None:
    """What is asked once wears out no disk; what is there is not written again."""
    archive = FakeArchive()
    stored(archive)
    house = House(archive=archive)
    for number in (0, SECOND, 2 * SECOND):
        house.ask(prompt(700, number))
    assert not [step for plan in house.plans for step in plan.restore if isinstance(step, Store)]


def test_a_new_process_reads_what_the_old_one_stored() -> None:
    """The answer is the same, only the rest of the prompt is read, and clients are told."""
    archive = FakeArchive()
    answer = stored(archive)
    house = House(archive=archive)
    match = house.submit(prompt(700))
    assert match is not None
    assert (match.cached_tokens, match.disk_tokens) == (0, 2 * BLOCK_TOKENS)
    house.run()
    emissions = [each for stepped in house.stepped for each in stepped.emissions]
    assert tuple(token for each in emissions for token in each.tokens) == answer
    assert house.read_tokens == 699 - 2 * BLOCK_TOKENS
    progress = [each for stepped in house.stepped for each in stepped.progress]
    assert progress[0].cached_tokens == 2 * BLOCK_TOKENS


def test_memory_comes_first_and_is_gone_on_with() -> None:
    """What memory knows is not read from disk, but for a word by chance; blocks go on from within one."""
    archive = FakeArchive()
    answer = stored(archive)
    house = House(archive=archive)
    house.ask(prompt(100))
    assert house.ask(prompt(700, SECOND)) == answer
    loads = [step for plan in house.plans for step in plan.restore if isinstance(step, Load)]
    assert [(load.start, load.end, len(load.blocks)) for load in loads] == [(99, 512, 2)]
    house.ask(prompt(700, 2 * SECOND))
    assert len([step for plan in house.plans for step in plan.restore if isinstance(step, Load)]) == 1


@pytest.mark.parametrize("length", [100, 256, 257, 301, 350, 400])
def test_what_memory_knows_is_never_made_of_blocks(length: int) -> None:
    """Memory joins pieces of a prompt where it can; only what it lacks was read from disk."""
    archive = FakeArchive()
    answer = stored(archive, 900)
    house = House(archive=archive)
    house.ask(prompt(length, max_tokens=1))
    assert house.ask(prompt(900, SECOND)) == answer
    loads = [step for plan in house.plans for step in plan.restore if isinstance(step, Load)]
    assert (loads[-1].start, loads[-1].end) == (length, 3 * BLOCK_TOKENS)


def test_what_memory_forgot_behind_a_beginning_comes_back() -> None:
    """A shared beginning stays while what followed it made room for others."""
    archive = FakeArchive()
    answer = stored(archive, 900)
    house = House(archive=archive, settings=EngineSettings(prefix_cache_bytes=8000))
    house.ask(prompt(400))
    house.ask(msgspec.structs.replace(prompt(400, SECOND), tokens=(*prompt(380).tokens, *([5] * 20))))
    for number in range(4):
        other = tuple((place * 3 + number) % 90 for place in range(300))
        house.ask(msgspec.structs.replace(prompt(300, (2 + number) * SECOND), tokens=other))
    assert house.ask(prompt(900, 9 * SECOND)) == answer


@given(lost=st.integers(0, 2), damaged=st.booleans())
def test_a_lost_or_damaged_block_is_a_miss(lost: int, damaged: bool) -> None:
    """What comes before it is used, the rest is read; the answer is the same, and it is stored anew."""
    archive = FakeArchive()
    answer = stored(archive, 900)
    names = archive.names(TenantId("local"), prompt(900).tokens[:-1])
    if damaged:
        archive.damaged.add(names[lost])
    else:
        del archive.blocks[names[lost]]
    house = House(archive=archive)
    assert house.ask(prompt(900)) == answer
    assert house.read_tokens == 899 - lost * BLOCK_TOKENS
    archive.damaged.clear()
    house.ask(prompt(900, SECOND))
    assert set(names) <= set(archive.blocks)


def test_rows_wait_no_longer_than_for_a_chunk() -> None:
    """Beside rows that decode, reading stops when it took what a chunk may take; one block is read."""
    archive = FakeArchive()
    answer = stored(archive)
    archive.seconds = 10.0
    house = House(archive=archive)
    house.submit(submission(first=50, max_tokens=100))
    house.run(5)
    assert house.ask(prompt(700, SECOND))[-len(answer) :]
    loads = [step for plan in house.plans for step in plan.restore if isinstance(step, Load)]
    assert [load.end for load in loads] == [BLOCK_TOKENS]


def test_no_room_loads_nothing_and_holds_nothing() -> None:
    """Where memory is short the prompt is read; what was fetched for nothing is let go."""
    archive = FakeArchive()
    answer = stored(archive)
    house = House(archive=archive, settings=EngineSettings(prefix_cache_bytes=500))
    assert house.ask(prompt(700)) == answer
    house.ask(prompt(300, SECOND))
    assert not archive.fetched


def test_the_job_itself_has_its_room() -> None:
    """What comes from disk leaves room for the row that goes on from it: the runner would refuse else."""
    archive = FakeArchive()
    answer = stored(archive)
    house = House(archive=archive, budget_bytes=11_300)
    assert house.ask(prompt(700)) == answer


def test_another_tenant_gets_nothing() -> None:
    """Names are a tenant's own."""
    archive = FakeArchive()
    stored(archive)
    house = House(archive=archive)
    match = house.submit(prompt(700, tenant=TenantId("other")))
    assert match is not None
    assert match.disk_tokens == 0
    house.run()
    assert house.read_tokens == 699


def test_two_prompts_that_are_admitted_in_one_step_take_each_its_own() -> None:
    """One that joins at once leaves room for the next, whose blocks are read in the same step."""
    archive = FakeArchive()
    other = msgspec.structs.replace(prompt(1, 2 * SECOND), tokens=(*range(90), *range(90), *range(80)))
    house = House(archive=archive)
    for number in (0, SECOND):
        one = house.ask(prompt(BLOCK_TOKENS + 1, number))
    answer = house.ask(other)
    assert house.ask(msgspec.structs.replace(other, sequences=(SequenceId(3 * SECOND),))) == answer
    assert len(archive.blocks) == 2
    house = House(archive=archive)
    house.submit(prompt(BLOCK_TOKENS + 1))
    house.submit(other)
    house.run()
    said = [each for stepped in house.stepped for each in stepped.emissions]
    for sequence, expected in ((0, one), (2 * SECOND, answer)):
        tokens = [token for each in said if each.sequence == sequence for token in each.tokens]
        assert tuple(tokens) == expected
    loads = [[step for step in plan.restore if isinstance(step, Load)] for plan in house.plans]
    assert max(map(len, loads)) == 2


def test_pictures_stay_off_the_disk() -> None:
    """Their positions move as the model counts, which blocks do not know."""
    archive = FakeArchive()
    stored(archive)
    house = House(archive=archive, sight=SIGHT)
    span = PictureSpan(start=3, length=4, digest=Digest(b"x" * 16), tensor_bytes=10)
    match = house.submit(prompt(700, pictures=(span,)))
    assert match is not None
    assert match.disk_tokens == 0
