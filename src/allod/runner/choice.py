"""Which products compute unpacked, and which way: decided from what was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from allod.runner.measured import (
    BY_COLUMNS,
    BY_PANELS,
    BY_ROWS,
    COLUMNS,
    PAD_ROWS,
    PADDED,
    PANELS,
    PIECE_ROWS,
    PIECES,
    ROWS_FIRST,
    STORED,
    WEIGHTS_FIRST,
    MeasuredKind,
    Timing,
    Way,
)

DECODE_ROWS = (1, 8, 32)
PREFILL_ROWS = 512

WEIGHTS: Mapping[int, float] = {1: 0.5, 8: 0.3, 32: 0.2, PREFILL_ROWS: 4 / PREFILL_ROWS}
"""What a token of an answer waits for: of ten tokens five come alone, three beside seven others, two beside
31 others; and for each of them four tokens of a prompt are read, in chunks of 512."""

SPAN: Mapping[int, int] = {1: 1, 2: 2, 4: 4, 8: 8, 12: 15, 16: 16, 24: 31, 32: 32}
"""Measured number of rows to the largest that is served as it. The multiples of 16 stand for themselves: BLAS
kernels are better at them than at anything between. Beyond the last the way of a prefill is taken."""

WORTH = 0.1
"""Another form or way is taken where it saves at least this share: less is within what measuring errs by."""

LAYOUT_WORTH = 0.03
"""Columns or panels are taken where they save at least this share, which is a sum of many tries."""

_SPARED = 0.15
"""Pieces are multiplied by one thread. Beside another that builds the next step's graph, products of two take
longer than by themselves: in a step of 8 rows of the starter model pieces saved 8 to 15 %, and by themselves
they took as long."""

_STEADY_SHARE = 0.7

Ways = tuple[tuple[int, Way], ...]
"""(most rows, way), by rows; whatever is beyond the last entry is computed rows first."""

_UNBOUNDED = 2**31


def seconds_per_token(timings: Sequence[Timing], ways: Collection[Way]) -> float:
    """What a product costs a token of an answer, by `WEIGHTS`; infinite where it was not measured.

    Args:
        timings: what was measured.
        ways: which of them it may take.
    """
    costs: list[float] = []
    for rows in {timing.rows for timing in timings} & WEIGHTS.keys():
        seconds = [t.seconds for t in timings if t.rows == rows and t.way in ways]
        costs.append(WEIGHTS[rows] * min(seconds, default=math.inf))
    return sum(costs) if costs else math.inf


def choose_unpacked(kinds: Sequence[MeasuredKind], room_bytes: int) -> tuple[int, ...]:
    """For each kind, how many of its products are unpacked.

    Where not all fit that are faster unpacked, those go first that save most seconds for a byte; of a kind
    that does not fit whole, as many as do.

    Args:
        kinds: what was measured.
        room_bytes: what unpacked weights may take beyond the stored ones.
    """
    worth: list[tuple[float, int, int]] = []
    for index, entry in enumerate(kinds):
        stored = seconds_per_token(entry.timings, (STORED,))
        dense = seconds_per_token(entry.timings, _layout(entry.timings))
        if entry.kind.bits and dense < (1 - WORTH) * stored:
            extra_bytes = max(entry.dense_bytes - entry.stored_bytes, 0)
            saved_seconds = entry.modules * (stored - dense)
            worth.append((saved_seconds / max(extra_bytes, 1), index, extra_bytes))
    chosen = [0] * len(kinds)
    for _, index, extra_bytes in sorted(worth, reverse=True):
        modules = kinds[index].modules
        fitting = max(room_bytes, 0) * modules // extra_bytes if extra_bytes else modules
        chosen[index] = min(fitting, modules)
        room_bytes -= math.ceil(chosen[index] * extra_bytes / modules)
    return tuple(chosen)


def ways_of(timings: Sequence[Timing]) -> Ways:
    """How unpacked weights are multiplied, by rows; empty where rows first is good for all."""
    layout = _layout(timings)
    if layout == BY_PANELS:
        return ((_UNBOUNDED, PANELS),)
    found: list[tuple[int, Way]] = [
        (most_rows, way)
        for rows, most_rows in (*SPAN.items(), (PREFILL_ROWS, _UNBOUNDED))
        if (way := _way_at([t for t in timings if t.rows == rows], layout))
    ]
    merged: list[tuple[int, Way]] = []  # a way over a longer stretch takes the place of the shorter one
    for most_rows, way in found:
        if merged and merged[-1][1] == way:
            merged.pop()
        merged.append((most_rows, way))
    return () if all(way == ROWS_FIRST for _, way in merged) else tuple(merged)


def lies_by_columns(ways: Ways) -> bool:
    """Whether weights that are multiplied so lie column by column."""
    return any(way in BY_COLUMNS for _, way in ways)


def lies_in_panels(ways: Ways) -> bool:
    """Whether weights that are multiplied so lie in panels."""
    return any(way in BY_PANELS for _, way in ways)


def _layout(timings: Sequence[Timing]) -> tuple[Way, ...]:
    """How unpacked weights lie, by the ways they have then: as is better than by rows, if not hardly so."""
    best = BY_ROWS
    for layout in (BY_COLUMNS, BY_PANELS):
        best = layout if _is_better(layout, best, timings) else best
    return best


def _is_better(layout: tuple[Way, ...], other: tuple[Way, ...], timings: Sequence[Timing]) -> bool:
    """Whether weights should lie so.

    What counts is what a token waits for, at the numbers of rows at which tries of some way of each agreed.
    """
    both = [{t.rows for t in timings if t.steady and t.way in ways} for ways in (layout, other)]
    compared = [t for t in timings if t.rows in both[0] & both[1] and not t.estimated]
    seconds, other_seconds = (seconds_per_token(compared, ways) for ways in (layout, other))
    return seconds < (1 - LAYOUT_WORTH) * other_seconds


def _way_at(timings: Sequence[Timing], layout: tuple[Way, ...]) -> Way | None:
    """The fastest way. The plain one it is where another is hardly better, or its own tries did not agree.

    Those of the others need not: whatever else ran can only have made the least of them longer.
    Pieces may even be a little slower, and need not be set against tries that agreed: they take one thread,
    and leave the others to whatever else a step computes, which a product by itself does not show.
    """
    plain = next((t for t in timings if t.way == layout[0]), None)
    if plain is None:
        return None
    others = [
        t for t in timings if t.way in layout[1:] and not t.estimated and (plain.steady or t.way == PIECES)
    ]
    bars: list[tuple[float, Way]] = [
        (t.seconds / (1 + _SPARED if t.way == PIECES else 1 - WORTH), t.way) for t in others
    ]
    bar, way = min(bars, default=(math.inf, plain.way))
    return way if bar < plain.seconds else plain.way


def is_steady(kinds: Sequence[MeasuredKind]) -> bool:
    """Whether timings can be relied on: tries agreed for most of the ways that unpacked weights can take.

    Where something else ran on the machine meanwhile they do not, and the next load measures again.
    """
    plain = [t.steady for kind in kinds for t in kind.timings if t.way == ROWS_FIRST and not t.estimated]
    return sum(plain) >= _STEADY_SHARE * len(plain)


def ways_to_try(rows: int, *, panels: bool = False) -> tuple[Way, ...]:
    """The ways to measure unpacked weights in; padding a multiple, a single row or a prompt is none.

    Args:
        rows: of what comes in.
        panels: weights can lie in panels. Columns are not tried beside them, which spare a library some of
            the work that panels spare altogether: for a large head they would be one more copy of it.
    """
    is_padded = rows % PAD_ROWS != 0 and 1 < rows < PREFILL_ROWS
    padded: tuple[Way, ...] = (PADDED,) if is_padded else ()
    pieces: tuple[Way, ...] = (PIECES,) if rows <= PIECE_ROWS else ()
    by_columns = BY_COLUMNS if is_padded else (COLUMNS,)
    return (ROWS_FIRST, *(BY_PANELS if panels else by_columns), WEIGHTS_FIRST, *padded, *pieces)
