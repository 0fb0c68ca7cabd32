"""Laws of the lengths that chunks are brought to."""

from hypothesis import given
from hypothesis import strategies as st

from allod.core.shapes import (
    LEAST_CHUNK_TOKENS,
    chunk_lengths,
    group_bounds,
    padded_chunk,
    padded_context,
    rows_together,
    whole_chunk,
)
from allod.testing.models import tiny_facts

TOKENS = st.integers(1, 100_000)


@given(TOKENS)
def test_padding_is_never_too_short_and_little_of_it(tokens: int) -> None:
    """At most half of a padded chunk is padding, and of one beyond 256 tokens at most a third."""
    length = padded_chunk(tokens)
    assert tokens <= length
    assert length <= max(LEAST_CHUNK_TOKENS, 2 * tokens - 1)
    if tokens > 256:
        assert 2 * length <= 3 * tokens


@given(st.integers(1, 100), st.sampled_from(chunk_lengths(4096)))
def test_rows_that_are_read_together_come_in_powers_of_two(prompts: int, length: int) -> None:
    """At least one, at most a quarter of them padding, and together no more than a long chunk."""
    rows = rows_together(prompts, length)
    assert rows >= 1
    assert 4 * prompts >= 3 * rows
    assert rows.bit_count() == 1
    assert rows == 1 or rows * length <= 1024


@given(TOKENS)
def test_a_padded_length_is_padded_no_further(tokens: int) -> None:
    """Padding brings to lengths that stay as they are."""
    assert padded_chunk(padded_chunk(tokens)) == padded_chunk(tokens)
    assert padded_context(padded_context(tokens)) == padded_context(tokens)


@given(TOKENS, TOKENS)
def test_a_longer_chunk_has_no_shorter_length(one: int, other: int) -> None:
    """Padding keeps order."""
    low, high = sorted((one, other))
    assert padded_chunk(low) <= padded_chunk(high)
    assert padded_context(low) <= padded_context(high)


@given(TOKENS)
def test_a_whole_chunk_fits_and_wastes_nothing(most: int) -> None:
    """What is read of a long prompt at a time is not padded, and is at least half of what may be read."""
    length = whole_chunk(most)
    assert padded_chunk(length) == length
    assert length <= max(most, LEAST_CHUNK_TOKENS)
    assert 2 * length > most


@given(TOKENS)
def test_the_lengths_are_all_that_chunks_come_to(most: int) -> None:
    """Each length is one that some chunk comes to, the last that of the longest; there are few."""
    lengths = chunk_lengths(most)
    assert [padded_chunk(length) for length in lengths] == list(lengths)
    assert lengths[-1] == padded_chunk(most)
    assert len(lengths) <= 2 * most.bit_length()


@given(TOKENS)
def test_context_is_at_most_twice_what_is_there(tokens: int) -> None:
    """A chunk looks past at most as many keys as there are, once there are enough for that to matter."""
    assert tokens <= padded_context(tokens) <= max(512, 2 * tokens - 1)


@given(st.integers(2, 8), st.integers(1, 200_000), st.data())
def test_lengths_of_a_group_differ_by_the_factor_at_most(factor: int, most: int, data: st.DataObject) -> None:
    """Beyond the first group, whose rows are short anyway; and all lengths have a group."""
    facts = tiny_facts(group_bounds_tokens=group_bounds(factor, most))
    one, other = sorted(data.draw(st.tuples(st.integers(1, most), st.integers(1, most))))
    assert facts.group_of(one) <= facts.group_of(other) <= len(facts.group_bounds_tokens)
    if facts.group_of(one) == facts.group_of(other) > 0:
        assert other <= factor * one


def test_without_bounds_all_rows_are_one_group() -> None:
    """A model whose rows cannot be in groups pads them to the longest."""
    assert {tiny_facts().group_of(tokens) for tokens in (1, 600, 10**6)} == {0}
