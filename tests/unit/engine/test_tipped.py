"""What goes to disk, and what comes back, where states can go on only at tips."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.test_prefixes import House

from allod.core.blocks import BLOCK_TOKENS, Load, Store
from allod.core.ids import BlockName, TenantId
from allod.core.messages import Submit
from allod.core.step import LayerState
from allod.engine.settings import EngineSettings
from allod.testing.archive import FakeArchive
from allod.testing.models import submission
from allod.testing.runner import expected_tokens

FULL = LayerState("full", 1, bytes_per_token=10, fixed_bytes=0, window_tokens=None)
WINDOW = LayerState("sliding", 1, bytes_per_token=3, fixed_bytes=0, window_tokens=24)
RECURRENT = LayerState("recurrent", 1, bytes_per_token=0, fixed_bytes=70, window_tokens=None)
LARGE = LayerState("recurrent", 1, bytes_per_token=0, fixed_bytes=9000, window_tokens=None)
MODELS = {
    "window": (FULL, WINDOW),
    "recurrent": (FULL, RECURRENT),
    "both": (FULL, WINDOW, RECURRENT),
    "nothing grows": (RECURRENT,),
}
Layers = tuple[LayerState, ...]
WITHIN = 620
"""Where instructions end, within a block."""


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def layers(request: pytest.FixtureRequest) -> Layers:
    return request.param


def text(length: int, kind: int = 7) -> tuple[int, ...]:
    return tuple((place * kind + place // 11) % 90 for place in range(length))


def question(number: int, begins: tuple[int, ...] = text(WITHIN), **changes: object) -> Submit:
    """Instructions, and a question of its own for each number."""
    tokens = (*begins, number % 89 + 1, *((number * 13 + place) % 90 for place in range(9)))
    asked = msgspec.structs.replace(submission(first=100 * number), tokens=tokens, boundaries=(len(begins),))
    return msgspec.structs.replace(asked, **changes)


def right(submit: Submit) -> tuple[int, ...]:
    """What a model says that reads all of it."""
    assert submit.max_tokens is not None
    return tuple(
        expected_tokens(submit.tokens, submit.samplings[0], vocabulary=97, max_tokens=submit.max_tokens)
    )


def stored(layers: Layers, begins: tuple[int, ...] = text(WITHIN)) -> FakeArchive:
    """What is left of a process that was asked enough about the same instructions."""
    archive = FakeArchive()
    house = House(archive=archive, layers=layers)
    for number in range(4):
        house.ask(question(number, begins))
    assert archive.tip_names
    return archive


def loads(house: House) -> list[Load]:
    return [step for plan in house.plans for step in plan.restore if isinstance(step, Load)]


@pytest.mark.parametrize("length", [BLOCK_TOKENS, WITHIN, 2 * BLOCK_TOKENS, 2 * BLOCK_TOKENS + 1])
def test_a_new_process_goes_on_where_instructions_end(layers: Layers, length: int) -> None:
    """Wherever that is; the answer is the same, only the question is read, and clients are told."""
    archive = stored(layers, text(length))
    house, asked = House(archive=archive, layers=layers), question(9, text(length))
    match = house.submit(asked)
    assert match is not None
    assert (match.cached_tokens, match.disk_tokens) == (0, length)
    house.run()
    emissions = [each for stepped in house.stepped for each in stepped.emissions]
    assert tuple(token for each in emissions for token in each.tokens) == right(asked)
    assert house.read_tokens == len(asked.tokens) - 1 - length
    assert [(load.start, load.end) for load in loads(house)] == [(0, length)]


def test_no_blocks_are_written_where_nothing_grows() -> None:
    """A tip alone is what such a model goes on from."""
    archive = stored((RECURRENT,))
    assert set(archive.blocks) == set(archive.tip_names)


def test_memory_goes_on_with_what_it_lacks(layers: Layers) -> None:
    """What memory has read of the instructions is not read from disk, within a block as well."""
    archive = stored(layers)
    house = House(archive=archive, layers=layers)
    house.ask(submission(prompt=0, first=77, tokens=(*text(300), 5)))
    asked = question(9)
    assert house.ask(asked) == right(asked)
    assert [(load.start, load.end) for load in loads(house)] == [(300, WITHIN)]


def test_a_tip_that_memory_lacks_comes_alone(layers: Layers) -> None:
    """Where memory knows the tokens and cannot go on from there, the disk has what is missing."""
    archive = stored(layers)
    house = House(archive=archive, layers=layers)
    held, archive.blocks = archive.blocks, {}
    house.ask(question(8, boundaries=(), max_tokens=1))
    archive.blocks, asked = held, question(9)
    assert house.ask(asked) == right(asked)
    (load,) = loads(house)
    assert (load.start, load.end, load.blocks) == (WITHIN, WITHIN, ())
    assert house.read_tokens == 2 * (len(asked.tokens) - 1) - WITHIN


def test_a_large_tip_is_written_where_prompts_part_and_not_for_each_turn() -> None:
    """Each turn of a conversation goes on from another tip, once; new questions go on from the same."""
    archive = FakeArchive()
    house = House(archive=archive, layers=(FULL, LARGE))
    turn = question(0)
    for number in range(1, 6):
        answer = house.ask(turn)
        turn = question(number, (*turn.tokens, *answer))
    assert not archive.blocks
    for number in range(6, 9):
        house.ask(question(number))
    (tip,) = archive.tip_names
    assert tip == archive.tip_name(text(WITHIN), archive.names(TenantId("local"), text(WITHIN)))


def test_a_long_conversation_writes_a_large_tip_now_and_then() -> None:
    """When the blocks since the last one take as much as it does: no more than twice of them is written."""
    archive = FakeArchive()
    house = House(archive=archive, layers=(FULL, LARGE))
    turn = question(0, text(300))
    for number in range(1, 16):
        answer = house.ask(turn)
        turn = question(number, (*turn.tokens, *answer, *text(150, number)))
    tips = len(archive.tip_names)
    assert tips == 2
    assert 9000 * tips <= 10 * len(turn.tokens)


def test_a_conversation_that_grows_fast_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a request may not store all blocks, it stores the tip up to which they are all there."""
    monkeypatch.setattr("allod.engine.archived._MOST_STORED_BYTES", 2 * 10 * BLOCK_TOKENS)
    archive = FakeArchive()
    house = House(archive=archive, layers=(FULL, RECURRENT))
    turn = question(0, text(250))
    for number in range(1, 6):
        answer = house.ask(turn)
        assert len(archive.blocks) - len(archive.tip_names) <= 2 * (number - 1)
        turn = question(number, (*turn.tokens, *answer, *text(700, number)))
    assert archive.tip_names
    house = House(archive=archive, layers=(FULL, RECURRENT))
    assert house.ask(turn) == right(turn)
    assert house.read_tokens < len(turn.tokens) - 4 * BLOCK_TOKENS


def test_what_is_there_is_not_written_again(layers: Layers) -> None:
    """Nor is what is shorter than a block."""
    archive = stored(layers)
    house = House(archive=archive, layers=layers)
    for number in range(10, 14):
        house.ask(question(number))
        house.ask(question(10 + number, text(BLOCK_TOKENS - 1, 3)))
    assert not [step for plan in house.plans for step in plan.restore if isinstance(step, Store)]


def test_what_made_room_on_disk_is_written_again() -> None:
    """A tip is of no use without the blocks before it."""
    archive = stored((FULL, RECURRENT))
    lost = archive.names(TenantId("local"), text(WITHIN))[0]
    del archive.blocks[lost]
    house = House(archive=archive, layers=(FULL, RECURRENT))
    for number in (10, 11):
        house.ask(question(number))
    assert lost in archive.blocks


@given(data=st.data())
def test_whatever_is_lost_or_damaged_is_a_miss(data: st.DataObject) -> None:
    """The answer is the same, what is left of use is used, and nothing is held for nothing."""
    layers = data.draw(st.sampled_from(list(MODELS.values())))
    archive = stored(layers)
    house = House(archive=archive, layers=layers)
    further = (*text(WITHIN), *text(300, 5))
    for number in range(20, 24):
        house.ask(question(number, further))
    names = st.sets(st.sampled_from(sorted(archive.blocks)))
    archive.damaged |= data.draw(names)
    for name in data.draw(names):
        del archive.blocks[name]
    asked, house = question(9, further), House(archive=archive, layers=layers)
    assert house.ask(asked) == right(asked)
    assert not archive.fetched
    blocks = archive.names(TenantId("local"), asked.tokens) if FULL in layers else ()

    def is_usable(length: int) -> bool:
        tip = archive.tip_name(further[:length], archive.names(TenantId("local"), further))
        needed: set[BlockName] = {tip, *blocks[: length // BLOCK_TOKENS]}
        return needed <= set(archive.blocks) and not needed & archive.damaged

    usable = [length for length in (WITHIN, len(further)) if is_usable(length)]
    assert house.read_tokens == len(asked.tokens) - 1 - max(usable, default=0)


@pytest.mark.parametrize(("seconds", "end"), [(0.01, 920), (0.06, WITHIN), (10.0, 0)])
def test_rows_wait_no_longer_than_for_a_chunk(seconds: float, end: int) -> None:
    """Of all tips the furthest is taken that can be had in that time, and nothing else is read."""
    archive = stored((FULL, RECURRENT))
    further = (*text(WITHIN), *text(300, 5))
    house = House(archive=archive, layers=(FULL, RECURRENT))
    for number in range(20, 24):
        house.ask(question(number, further))
    house = House(archive=archive, layers=(FULL, RECURRENT))
    house.submit(submission(first=50, max_tokens=200))
    house.run(5)
    archive.seconds, archive.reads = seconds, 0
    house.submit(question(9, further))
    house.run(1)
    assert [load.end for load in loads(house)] == ([end] if end else [])
    assert archive.reads == (1 + end // BLOCK_TOKENS if end else 0)


def test_a_disk_that_is_slower_than_it_was_is_left_at_once() -> None:
    """When the time is over, nothing more is read, and what was read is let go."""
    archive = stored((FULL, RECURRENT))
    archive.seconds, archive.expected = 10.0, 0.0
    house, asked = House(archive=archive, layers=(FULL, RECURRENT)), question(9)
    archive.reads = 0
    assert house.ask(asked) == right(asked)
    assert archive.reads == 1
    assert not loads(house)
    assert not archive.fetched


def test_a_nearer_tip_serves_when_a_disk_turns_out_to_be_slow() -> None:
    """Reading stops as soon as it shows that the time will not do for the further one."""
    archive = stored((FULL, RECURRENT), text(300))
    house = House(archive=archive, layers=(FULL, RECURRENT))
    further = (*text(300), *text(900, 5))
    for number in range(20, 24):
        house.ask(question(number, further))
    house, asked = House(archive=archive, layers=(FULL, RECURRENT)), question(9, further)
    archive.seconds, archive.expected, archive.reads = 0.26, 0.0, 0
    assert house.ask(asked) == right(asked)
    assert archive.reads == 1 + 2
    assert [load.end for load in loads(house)] == [300]
    assert not archive.fetched


def test_no_room_reads_nothing(layers: Layers) -> None:
    """Where memory is too short for a tip and what is before it, the prompt is read."""
    archive = stored(layers)
    archive.reads = 0
    house = House(archive=archive, layers=layers, settings=EngineSettings(prefix_cache_bytes=60))
    asked = question(9)
    assert house.ask(asked) == right(asked)
    assert archive.reads == 0


def test_another_tenant_gets_nothing(layers: Layers) -> None:
    """Names of tips are a tenant's own."""
    house = House(archive=stored(layers), layers=layers)
    match = house.submit(question(9, tenant=TenantId("other")))
    assert match is not None
    assert match.disk_tokens == 0
    house.run()
    assert not loads(house)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_conversations_over_any_restarts_are_as_without_a_disk(data: st.DataObject) -> None:
    """Whatever is asked, forgotten, lost and started anew in between."""
    layers = data.draw(st.sampled_from(list(MODELS.values())))
    limit = data.draw(st.sampled_from([2000, 9000, 10**6]))
    archive = FakeArchive(seconds=data.draw(st.sampled_from([0.0, 0.3])))
    house = House(archive=archive, layers=layers)
    turns = [question(0), question(1, text(300, 5))]
    for number in range(2, data.draw(st.integers(3, 12))):
        if data.draw(st.booleans()):
            changed = EngineSettings(prefix_cache_bytes=limit)
            house = House(archive=archive, layers=layers, settings=changed)
        if archive.blocks and data.draw(st.booleans()):
            del archive.blocks[data.draw(st.sampled_from(sorted(archive.blocks)))]
        place = data.draw(st.integers(0, len(turns) - 1))
        asked = msgspec.structs.replace(
            turns[place], sequences=submission(first=100 * number).sequences, request=f"request-{number}"
        )
        answer = house.ask(asked)
        assert answer == right(asked)
        turns.append(question(number, (*asked.tokens, *answer)))
