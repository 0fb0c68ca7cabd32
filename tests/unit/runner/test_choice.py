"""Which products are unpacked and which way they go, from timings that are made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scaffolding.timings import made_up, packed_is_fast, packed_is_slow

from allod.runner.choice import (
    LAYOUT_WORTH,
    PREFILL_ROWS,
    SPAN,
    WEIGHTS,
    WORTH,
    choose_unpacked,
    is_steady,
    lies_by_columns,
    lies_in_panels,
    seconds_per_token,
    ways_of,
)
from allod.runner.measured import (
    BY_COLUMNS,
    BY_ROWS,
    COLUMNS,
    PADDED,
    PADDED_COLUMNS,
    PANELS,
    PIECES,
    ROWS_FIRST,
    STORED,
    WEIGHTS_FIRST,
    Kind,
    MeasuredKind,
    Timing,
    Way,
)
from allod.runner.product import way_for

PACKED = Kind("block", 1536, 576, "float32", 4, 32, "affine")
PLAIN = Kind("block", 1536, 576, "float32")

seconds = st.floats(1e-6, 1.0)
entries = st.builds(
    lambda stored, dense, modules, extra: MeasuredKind(
        PACKED,
        modules,
        100,
        100 + extra,
        made_up(PACKED, lambda _kind, way, rows: rows * (stored if way == STORED else dense)),
    ),
    seconds,
    seconds,
    st.integers(1, 64),
    st.integers(0, 1000),
)


def entry(rule, modules: int = 1, extra_bytes: int = 100, kind: Kind = PACKED) -> MeasuredKind:
    return MeasuredKind(kind, modules, 100, 100 + extra_bytes, made_up(kind, rule))


@given(st.lists(entries, max_size=6), st.integers(-100, 3000))
def test_what_is_unpacked_fits_and_is_faster(kinds: list[MeasuredKind], room_bytes: int) -> None:
    """No choice goes beyond the room, and none unpacks what is not faster by what counts."""
    chosen = choose_unpacked(kinds, room_bytes)
    extra_bytes = [
        count * (kind.dense_bytes - kind.stored_bytes) / kind.modules
        for kind, count in zip(kinds, chosen, strict=True)
    ]
    assert sum(extra_bytes) <= max(room_bytes, 0)
    for kind in [kind for kind, count in zip(kinds, chosen, strict=True) if count]:
        stored = seconds_per_token(kind.timings, (STORED,))
        assert seconds_per_token(kind.timings, BY_ROWS) < (1 - WORTH) * stored


@given(st.lists(entries, max_size=6))
def test_with_room_for_all_everything_that_is_faster_is_unpacked(kinds: list[MeasuredKind]) -> None:
    """Room is the only reason to leave a faster form."""
    for kind, count in zip(kinds, choose_unpacked(kinds, 10**9), strict=True):
        stored = seconds_per_token(kind.timings, (STORED,))
        is_faster = seconds_per_token(kind.timings, BY_ROWS) < (1 - WORTH) * stored
        assert count == (kind.modules if is_faster else 0)


def test_what_saves_most_for_a_byte_goes_first() -> None:
    """Of two kinds that save as much, the smaller; of two of a size, the one that saves more."""
    small, large = entry(packed_is_slow, extra_bytes=100), entry(packed_is_slow, extra_bytes=200)
    assert choose_unpacked([large, small], 200) == (0, 1)
    many, few = entry(packed_is_slow, modules=30), entry(packed_is_slow, modules=2)
    assert choose_unpacked([few, many], 100) == (0, 30)


def test_of_a_kind_that_does_not_fit_as_many_are_unpacked_as_do() -> None:
    """And what comes after it takes what is left."""
    many, few = entry(packed_is_slow, modules=30, extra_bytes=300), entry(packed_is_slow, extra_bytes=30)
    assert choose_unpacked([few, many], 209) == (0, 20)
    assert choose_unpacked([few, many], 329) == (0, 30)
    assert choose_unpacked([few, many], 330) == (1, 30)


def test_weights_that_are_not_packed_are_never_unpacked() -> None:
    """Nor is a kind whose unpacked product was not measured, because it could never fit."""
    unmeasured = MeasuredKind(PACKED, 1, 100, 10**12, (Timing(STORED, 1, 1.0), Timing(STORED, 8, 8.0)))
    assert choose_unpacked([entry(packed_is_slow, kind=PLAIN), unmeasured], 10**15) == (0, 0)


def test_rows_weigh_what_a_token_waits_for() -> None:
    """Shares of decode rows add up to one; a prompt counts four tokens for each of an answer."""
    assert sum(weight for rows, weight in WEIGHTS.items() if rows != PREFILL_ROWS) == pytest.approx(1)
    timings = [Timing(ROWS_FIRST, rows, 1.0) for rows in WEIGHTS]
    assert seconds_per_token(timings, BY_ROWS) == pytest.approx(1 + 4 / PREFILL_ROWS)


def test_rows_first_needs_no_table() -> None:
    """Where nothing is better for any number of rows, a layer may stay what it is."""
    assert ways_of(made_up(PACKED, packed_is_slow)) == ()
    assert ways_of(()) == ()


def test_pieces_are_taken_beside_a_doubtful_plain_way() -> None:
    """To take them by mistake costs little, to leave them half of a product's time in a step."""
    timings = (Timing(ROWS_FIRST, 1, 1.0), Timing(PIECES, 1, 0.9), Timing(WEIGHTS_FIRST, 1, 0.5, steady=True))
    assert way_for(ways_of(timings), 1) == PIECES


@pytest.mark.parametrize(("share", "taken"), [(1.14, PIECES), (1.16, ROWS_FIRST)])
def test_pieces_are_taken_though_they_are_a_little_slower(share: float, taken: Way) -> None:
    """What they leave to the rest of a step is worth more than what another way must save."""
    ways = ways_of(made_up(PACKED, lambda _kind, way, _rows: share if way == PIECES else 1.0))
    assert [way_for(ways, rows) for rows in (1, 2, 4, 8, 9)] == [taken] * 4 + [ROWS_FIRST]


def test_a_gain_of_another_way_is_set_against_that_of_pieces() -> None:
    """Weights first must be faster than pieces by both: what it must save, and what pieces may lose."""
    saved = {ROWS_FIRST: 1.0, PIECES: 0.9, WEIGHTS_FIRST: 0.75}
    ways = ways_of(made_up(PACKED, lambda _kind, way, _rows: saved.get(way, 2.0)))
    assert (way_for(ways, 1), way_for(ways, 16)) == (PIECES, WEIGHTS_FIRST)


def rule(best: dict[int, Way]):
    """Rows first takes 2 ms for any number of rows, the way named for this one 1 ms, others 3 ms."""

    def taken(_kind: Kind, way: Way, rows: int) -> float:
        return 1e-3 if best.get(rows) == way else 2e-3 if way == ROWS_FIRST else 3e-3

    return taken


def test_a_way_serves_the_rows_it_was_measured_for() -> None:
    """Between two measured numbers the larger decides; multiples of 16 decide for themselves alone."""
    ways = ways_of(made_up(PACKED, rule({1: WEIGHTS_FIRST, 4: PADDED, 12: PADDED, 24: WEIGHTS_FIRST})))
    wanted: dict[Way, tuple[int, ...]] = {
        WEIGHTS_FIRST: (1, 17, 24, 31),
        PADDED: (3, 4, 9, 12, 15),
        ROWS_FIRST: (2, 5, 8, 16, 32, 33, 512, 5000),
    }
    for way, counts in wanted.items():
        assert [way_for(ways, rows) for rows in counts] == [way] * len(counts)


@given(st.dictionaries(st.sampled_from([*SPAN, PREFILL_ROWS]), st.sampled_from([WEIGHTS_FIRST, PADDED])))
def test_every_measured_number_of_rows_gets_its_best_way(best: dict[int, Way]) -> None:
    """The table is no approximation where there was a measurement."""
    timings = made_up(PACKED, rule(best))
    ways = ways_of(timings)
    for rows in (*SPAN, PREFILL_ROWS):
        fastest = min((t for t in timings if t.rows == rows and t.way in BY_ROWS), key=lambda t: t.seconds)
        assert way_for(ways, rows) == fastest.way


COLUMNS_MS = {COLUMNS: 1.5, PADDED_COLUMNS: 1.4, ROWS_FIRST: 2.0, WEIGHTS_FIRST: 2.5, PADDED: 2.2}


def test_weights_lie_by_columns_where_that_costs_a_token_less() -> None:
    """Then all numbers of rows take ways of that layout, the plain one where another is hardly better."""
    ways = ways_of(made_up(PACKED, lambda _kind, way, rows: COLUMNS_MS.get(way, 9.0)))
    assert lies_by_columns(ways)
    assert {way_for(ways, rows) for rows in (*SPAN, PREFILL_ROWS)} == {COLUMNS}
    assert not lies_by_columns(ways_of(made_up(PACKED, packed_is_slow)))


@given(st.dictionaries(st.tuples(st.sampled_from([*SPAN, 512]), st.sampled_from(list(COLUMNS_MS))), seconds))
def test_layouts_do_not_mix(taken: dict[tuple[int, Way], float]) -> None:
    """Weights lie in one way, so that all numbers of rows take ways of one layout, the cheaper one."""
    timings = made_up(PACKED, lambda _kind, way, rows: taken.get((rows, way), 0.1))
    ways = ways_of(timings)
    layout = BY_COLUMNS if lies_by_columns(ways) else BY_ROWS
    assert {way for _, way in ways} <= set(layout)
    rows, columns = (seconds_per_token(timings, each) for each in (BY_ROWS, BY_COLUMNS))
    assert (layout == BY_COLUMNS) == (columns < (1 - LAYOUT_WORTH) * rows)


@pytest.mark.parametrize(
    ("seconds", "is_taken"), [(1.0, True), (1.42, True), (1.44, False), (1.8, False)], ids=str
)
def test_weights_lie_in_panels_where_that_costs_a_token_less(seconds: float, is_taken: bool) -> None:
    """Less than what is best else; then all numbers of rows are multiplied so, measured or not."""
    timings = [
        *made_up(PACKED, lambda _kind, way, rows: COLUMNS_MS.get(way, 9.0)),
        *(Timing(PANELS, rows, seconds, steady=True) for rows in (1, 8, 32, PREFILL_ROWS)),
    ]
    ways = ways_of(timings)
    assert lies_in_panels(ways) == is_taken
    assert lies_by_columns(ways) != is_taken
    if is_taken:
        assert {way_for(ways, rows) for rows in (1, 3, 33, 5000)} == {PANELS}


def test_in_doubt_weights_lie_by_rows() -> None:
    """Numbers of rows at which tries disagreed do not count, for either layout."""
    doubtful = [Timing(ROWS_FIRST, 1, 1.0, steady=True), Timing(COLUMNS, 1, 0.5)]
    certain = [Timing(ROWS_FIRST, 8, 1.0, steady=True), Timing(COLUMNS, 8, 0.5, steady=True)]
    assert not lies_by_columns(ways_of(doubtful))
    assert lies_by_columns(ways_of([*doubtful, *certain]))


def test_a_way_of_one_layout_counts_though_its_own_tries_disagreed() -> None:
    """Pieces by rows are against columns what they are against rows first: no slower than measured."""
    plain = [Timing(ROWS_FIRST, 1, 1.0, steady=True), Timing(COLUMNS, 1, 0.9, steady=True)]
    assert lies_by_columns(ways_of(plain))
    assert way_for(ways_of([*plain, Timing(PIECES, 1, 0.7)]), 1) == PIECES


@pytest.mark.parametrize("doubt", ["estimated", "plain unsteady", "hardly better"])
def test_in_doubt_it_is_rows_first(doubt: str) -> None:
    """No way is taken that was not measured or is hardly better, and none beside a doubtful plain one."""
    plain = Timing(ROWS_FIRST, 1, 1.0, steady=doubt != "plain unsteady")
    seconds = 0.92 if doubt == "hardly better" else 0.5
    better = Timing(WEIGHTS_FIRST, 1, seconds, estimated=doubt == "estimated", steady=True)
    assert ways_of((plain, better)) == ()


def test_a_way_is_taken_whose_own_tries_disagreed() -> None:
    """What else ran can only have made it slower than it is."""
    plain, better = Timing(ROWS_FIRST, 1, 1.0, steady=True), Timing(WEIGHTS_FIRST, 1, 0.5)
    assert way_for(ways_of((plain, better)), 1) == WEIGHTS_FIRST


def test_timings_of_a_busy_machine_are_told_from_others() -> None:
    """Estimates do not count; most of what was measured has to have agreed."""
    steady = entry(packed_is_fast)
    shaky = MeasuredKind(PACKED, 1, 1, 1, tuple(Timing(ROWS_FIRST, rows, 1.0) for rows in (1, 8, 32)))
    estimated = MeasuredKind(PACKED, 1, 1, 1, (Timing(ROWS_FIRST, 512, 1.0, estimated=True),))
    assert is_steady([steady, estimated])
    assert not is_steady([shaky])
