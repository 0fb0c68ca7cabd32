"""Bytes of a batch, to the byte."""

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from allod.core.pictures import Digest, PictureSpan, Sight
from allod.core.step import LayerState
from allod.engine.memory import LEAST_CHUNK_TOKENS, Group, Load, MemoryModel
from allod.testing.models import TINY_DRAFT, tiny_facts

FULL = LayerState("full", 2, bytes_per_token=10, fixed_bytes=0, window_tokens=None)
SLIDING = LayerState("sliding", 2, bytes_per_token=3, fixed_bytes=7, window_tokens=100)
TIGHT = tiny_facts(
    layers=(FULL,),
    capacity_step_tokens=1,
    weights_bytes=0,
    budget_bytes=20_000,
    transient_bytes_per_token=10,
)
"""Every byte counts: no weights, no rounding."""


def test_a_row_is_rounded_up_and_windows_stop_growing():
    """Fixed + bytes_per_token * min(rounded tokens, window), summed over layer kinds."""
    memory = MemoryModel(tiny_facts(layers=(FULL, SLIDING), capacity_step_tokens=64), 512)
    assert memory.row_bytes(0) == 7
    assert memory.row_bytes(1) == 640 + 7 + 192
    assert memory.row_bytes(64) == 640 + 7 + 192
    assert memory.row_bytes(65) == 1280 + 7 + 300
    assert memory.batch_bytes([Group(3, 65), Group(2, 1)]) == 3 * memory.row_bytes(65) + 2 * memory.row_bytes(
        1
    )


def test_need_is_weights_and_state_and_the_larger_transient():
    """Prefill counts at its smallest allowed chunk, decode at one token per row."""
    memory = MemoryModel(
        tiny_facts(
            layers=(FULL,),
            capacity_step_tokens=1,
            weights_bytes=1000,
            transient_bytes_per_token=5,
            transient_bytes_per_token_and_context=1,
        ),
        2048,
    )
    long_prompt = Load((Group(2, 1100),), prompt_tokens=1000)
    assert memory.needed_bytes(long_prompt) == 1000 + 22_000 + LEAST_CHUNK_TOKENS * 1005
    short_prompt = Load((Group(2, 1100),), prompt_tokens=2)
    assert memory.needed_bytes(short_prompt) == 1000 + 22_000 + 2 * 1105


def test_chunks_shrink_to_what_is_left():
    """The chunk cap is the budget that state and weights leave, and never above the setting."""
    memory = MemoryModel(TIGHT, 512)
    assert memory.chunk_tokens(Load((Group(1, 1000),), 900)) == 512
    assert memory.chunk_tokens(Load((Group(1, 1600),), 900)) == 400
    assert memory.fits(Load((Group(1, 2000 - LEAST_CHUNK_TOKENS),), 900))
    assert not memory.fits(Load((Group(1, 2001 - LEAST_CHUNK_TOKENS),), 900))


def test_rows_that_share_a_pass_with_a_chunk_need_their_part_of_it():
    """Their activations are there with the chunk's: admission counts both, and a chunk leaves them room."""
    apart, beside = (
        MemoryModel(msgspec.structs.replace(TIGHT, reads_beside=shares), 512) for shares in (False, True)
    )
    load = Load((Group(4, 400),), prompt_tokens=900)
    assert apart.chunk_tokens(load) - beside.chunk_tokens(load) == 4
    assert beside.needed_bytes(load) - apart.needed_bytes(load) == 4 * 10
    assert apart.spare_bytes(load, 300) - beside.spare_bytes(load, 300) == 4 * 10


def test_without_transients_the_setting_is_the_only_cap():
    """A model that measured none is not divided by."""
    model = tiny_facts(transient_bytes_per_token=0, transient_bytes_per_token_and_context=0)
    assert MemoryModel(model, 512).chunk_tokens(Load((Group(1, 100),), 50)) == 512


SIGHT = Sight(
    weights_bytes=0,
    feature_bytes_per_token=4,
    transient_per_byte=2.0,
    transient_per_byte_squared=0.5,
    cache_bytes=5000,
)


def seeing(*, whole_spans: bool = False) -> MemoryModel:
    sight = msgspec.structs.replace(SIGHT, whole_spans=whole_spans)
    return MemoryModel(
        tiny_facts(layers=(FULL,), capacity_step_tokens=1, transient_bytes_per_token=5, sight=sight), 2048
    )


def spans(*sizes: tuple[int, int]) -> tuple[PictureSpan, ...]:
    return tuple(PictureSpan(0, length, Digest(bytes(32)), size) for length, size in sizes)


def test_the_largest_picture_counts_and_its_length_only_where_it_is_read_whole():
    """One is looked at after the other, so the others add nothing."""
    pictures = spans((7, 100), (900, 20))
    assert seeing().load_of(pictures) == Load(picture_bytes=100)
    assert seeing(whole_spans=True).load_of(pictures) == Load(picture_bytes=100, span_tokens=900)
    assert seeing(whole_spans=True).load_of(()) == Load()


def test_a_model_that_sees_keeps_room_for_pictures_always():
    """What is on the shelf stays there whoever comes, pictures or not."""
    assert seeing().needed_bytes(Load((Group(1, 10),), 2)) == 1000 + 10 * 10 + 5000 + 5


def test_looking_takes_its_share_beside_what_decodes():
    """T bytes of tensors take 2 T + T^2 / 2 for the time being, and reading a chunk takes turns with it."""
    load = Load((Group(3, 10),), prompt_tokens=301, picture_bytes=100)
    held = 1000 + 3 * 100 + 5000
    assert seeing().needed_bytes(load) == held + 3 * 5 + 200 + 5000
    small = Load((Group(3, 10),), prompt_tokens=301, picture_bytes=1)
    assert seeing().needed_bytes(small) == held + LEAST_CHUNK_TOKENS * 5


def test_a_picture_that_is_read_whole_sets_the_least_chunk():
    """A chunk is as long as the picture, whatever memory would rather have."""
    load = Load((Group(1, 2000),), prompt_tokens=1000, span_tokens=700)
    assert seeing().needed_bytes(load) == 1000 + 20_000 + 5000 + 700 * 5


@given(data=st.data(), whole=st.booleans())
def test_more_of_anything_never_needs_less(data: st.DataObject, whole: bool):
    """Admission searches for the longest that fits, which takes this for granted."""
    numbers = st.integers(0, 2000)
    less = [data.draw(numbers) for _ in range(6)]
    more = [value + data.draw(numbers) for value in less]
    small, large = (Load((Group(rows, longest),), *others) for rows, longest, *others in (less, more))
    larger = replace(large, groups=(*large.groups, Group(data.draw(numbers), data.draw(numbers))))
    memory = seeing(whole_spans=whole)
    assert memory.needed_bytes(small) <= memory.needed_bytes(large) <= memory.needed_bytes(larger)
    assert memory.chunk_tokens(small) >= memory.chunk_tokens(large) >= memory.chunk_tokens(larger)


def test_a_draft_model_holds_one_row_and_may_read_a_chunk_of_it():
    """Whatever the number of rows: its state is that of the longest, up to its own context."""
    draft = msgspec.structs.replace(
        TINY_DRAFT, transient_bytes_per_token=9, context_tokens=1000, layers=(SLIDING, FULL)
    )
    facts = tiny_facts(
        layers=(FULL,), capacity_step_tokens=1, weights_bytes=0, transient_bytes_per_token=5, draft=draft
    )
    memory, without = MemoryModel(facts, 512), MemoryModel(msgspec.structs.replace(facts, draft=None), 512)
    assert memory.draft_bytes(0) == without.draft_bytes(500) == 0
    assert memory.draft_bytes(500) == 7 + 300 + 5000
    assert memory.draft_bytes(1500) == memory.draft_bytes(1000)
    decoding = Load((Group(2, 800),))
    assert without.needed_bytes(decoding) == 16_000 + 2 * 5
    assert memory.needed_bytes(decoding) == 16_000 + memory.draft_bytes(800) + LEAST_CHUNK_TOKENS * 9
    assert memory.needed_bytes(Load()) == 0
