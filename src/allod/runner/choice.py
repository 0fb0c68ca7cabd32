"""Which products compute unpacked, and which way: decided from what was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from allod.runner.measured import (
    PAD_ROWS,
    PADDED,
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

_STEADY_SHARE = 0.7

Ways = tuple[tuple[int, Way], ...]
"""(most rows, way), by rows; whatever is beyond the last entry is computed rows first."""

_UNBOUNDED = 2**31


def seconds_per_token(timings: Sequence[Timing], *, dense: bool) -> float:
    """What a product costs a token of an answer, by `WEIGHTS`; infinite where it was not measured."""
    costs: list[float] = []
    for rows in {timing.rows for timing in timings} & WEIGHTS.keys():
        seconds = [t.seconds for t in timings if t.rows == rows and (t.way != STORED) == dense]
        costs.append(WEIGHTS[rows] * min(seconds, default=math.inf))
    return sum(costs) if costs else math.inf


def choose_dense(kinds: Sequence[MeasuredKind], room_bytes: int) -> tuple[bool, ...]:
    """For each kind, whether it is unpacked.

    Where not all fit that are faster unpacked, those go first that save most seconds for a byte.

    Args:
        kinds: what was measured.
        room_bytes: what unpacked weights may take beyond the stored ones.
    """
    worth: list[tuple[float, int, int]] = []
    for index, entry in enumerate(kinds):
        stored, dense = (seconds_per_token(entry.timings, dense=dense) for dense in (False, True))
        if entry.kind.bits and dense < (1 - WORTH) * stored:
            extra_bytes = max(entry.dense_bytes - entry.stored_bytes, 0)
            saved_seconds = entry.modules * (stored - dense)
            worth.append((saved_seconds / max(extra_bytes, 1), index, extra_bytes))
    chosen = [False] * len(kinds)
    for _, index, extra_bytes in sorted(worth, reverse=True):
        if extra_bytes <= room_bytes:
            chosen[index] = True
            room_bytes -= extra_bytes
    return tuple(chosen)


def ways_of(timings: Sequence[Timing]) -> Ways:
    """How unpacked weights are multiplied, by rows; empty where rows first is good for all."""
    found: list[tuple[int, Way]] = [
        (most_rows, way)
        for rows, most_rows in (*SPAN.items(), (PREFILL_ROWS, _UNBOUNDED))
        if (way := _way_at([t for t in timings if t.rows == rows and t.way != STORED]))
    ]
    merged: list[tuple[int, Way]] = []  # a way over a longer stretch takes the place of the shorter one
    for most_rows, way in found:
        if merged and merged[-1][1] == way:
            merged.pop()
        merged.append((most_rows, way))
    return () if all(way == ROWS_FIRST for _, way in merged) else tuple(merged)


def _way_at(timings: Sequence[Timing]) -> Way | None:
    """The fastest way. Rows first it is where another is hardly better, or tries did not agree."""
    plain = next((t for t in timings if t.way == ROWS_FIRST), None)
    if plain is None:
        return None
    best = min((t for t in timings if t.steady), key=lambda t: t.seconds, default=plain)
    return best.way if plain.steady and best.seconds < (1 - WORTH) * plain.seconds else ROWS_FIRST


def is_steady(kinds: Sequence[MeasuredKind]) -> bool:
    """Whether timings can be relied on: tries agreed for most of the ways that unpacked weights can take.

    Where something else ran on the machine meanwhile they do not, and the next load measures again.
    """
    plain = [t.steady for kind in kinds for t in kind.timings if t.way == ROWS_FIRST and not t.estimated]
    return sum(plain) >= _STEADY_SHARE * len(plain)


def ways_to_try(rows: int) -> tuple[Way, ...]:
    """The ways to measure unpacked weights in; padding a multiple, a single row or a prompt is none."""
    is_padded = rows % PAD_ROWS != 0 and 1 < rows < PREFILL_ROWS
    return (ROWS_FIRST, WEIGHTS_FIRST, PADDED) if is_padded else (ROWS_FIRST, WEIGHTS_FIRST)
