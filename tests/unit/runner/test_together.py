"""Which chunks are read as one."""

from hypothesis import given
from hypothesis import strategies as st

from allod.core.shapes import padded_chunk, rows_together
from allod.runner.network import Extent, Reading
from allod.runner.together import Part, groups

PARTS = st.lists(
    st.builds(
        lambda length, context: Part((1,) * length, Reading([], Extent(context))),
        st.integers(1, 700),
        st.sampled_from([0, 0, 0, 16]),
    ),
    max_size=20,
)


@given(PARTS, st.booleans())
def test_every_chunk_is_read_once_with_its_like(parts: list[Part], pads_chunks: bool) -> None:
    """Those of a group have read equally much, and little of what is computed is padding."""
    found = groups(parts, pads_chunks=pads_chunks)
    assert sorted(map(id, parts)) == sorted(id(part) for group in found for part in group)
    for group in found:
        lengths = [len(part.tokens) for part in group]
        assert len({part.reading.extent for part in group}) == 1
        assert len(group) == 1 or min(lengths) > 1
        if pads_chunks:
            assert len({padded_chunk(length) for length in lengths}) == 1
            rows = rows_together(len(group), padded_chunk(lengths[0]))
            assert 4 * len(group) >= 3 * rows
        else:
            assert 8 * min(lengths) >= 7 * max(lengths)


@given(st.lists(st.just(Part((1,) * 30, Reading([]))), min_size=1, max_size=40))
def test_equal_chunks_are_read_in_few_groups(parts: list[Part]) -> None:
    """All as one where any shape will do; else in powers of two up to eight, which padding may fill up."""
    assert len(groups(parts, pads_chunks=False)) == 1
    whole, rest = divmod(len(parts), 8)
    passes = (0, 1, 1, 1, 1, 2, 1, 1)  # of five, one is left alone
    assert len(groups(parts, pads_chunks=True)) == whole + passes[rest]
