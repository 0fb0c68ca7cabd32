"""Timings made up for a model's products, so that a choice can be foreseen."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from allod.runner.choice import DECODE_ROWS, PREFILL_ROWS, SPAN, ways_to_try
from allod.runner.measured import (
    COLUMNS,
    PANELS,
    ROWS_FIRST,
    STORED,
    Kind,
    MeasuredKind,
    Timing,
    Way,
    read,
    write,
)
from allod.runner.record import Measuring
from allod.runner.survey import Group

UNMEASURED = Measuring(all_ways=False)
"""To load what is not packed at once: a second of measuring proves nothing where products are not the matter,
and on a busy machine it finds something else each time."""


def made_up(
    kind: Kind, seconds: Callable[[Kind, Way, int], float], *, panels: bool = False
) -> tuple[Timing, ...]:
    """Timings as they are measured, by a rule; those of panels as well, where weights can lie in them."""
    last = (PREFILL_ROWS,) if kind.use == "block" else ()
    timings: list[Timing] = []
    for rows in (*SPAN, *last):
        stored: tuple[Way, ...] = (STORED,) if kind.bits and rows in (*DECODE_ROWS, PREFILL_ROWS) else ()
        ways = (*ways_to_try(rows, panels=panels), *stored)
        timings += [Timing(way, rows, seconds(kind, way, rows), steady=True) for way in ways]
    return tuple(timings)


def make_up(file: Path, seconds: Callable[[Kind, Way, int], float], *, panels: bool = False) -> None:
    """Put timings by a rule in the place of those that were measured; those of panels too, if wanted."""
    measured = read(file)
    assert measured is not None
    panels = panels or any(timing.way == PANELS for entry in measured.kinds for timing in entry.timings)
    kinds = [
        msgspec.structs.replace(entry, timings=made_up(entry.kind, seconds, panels=panels))
        for entry in measured.kinds
    ]
    write(file, msgspec.structs.replace(measured, kinds=tuple(kinds)))


def hold(home: Path) -> None:
    """Keep for good what was measured in a home: a busy machine's timings are taken again at each load."""
    for file in (home / "measured").glob("*.json"):
        measured = read(file)
        if measured is not None:
            held = tuple(msgspec.structs.replace(kind, timings=_held(kind)) for kind in measured.kinds)
            if held != measured.kinds:
                write(file, msgspec.structs.replace(measured, kinds=held))


def _held(kind: MeasuredKind) -> tuple[Timing, ...]:
    return tuple(msgspec.structs.replace(timing, steady=True) for timing in kind.timings)


def packed_is_slow(_kind: Kind, way: Way, rows: int) -> float:
    """Unpacked weights are faster by far, rows first."""
    return rows * (10e-3 if way == STORED else 1e-3 if way == ROWS_FIRST else 2e-3)


def panels_are_fast(_kind: Kind, way: Way, rows: int) -> float:
    """Unpacked weights are faster by far, and from panels; where these are not, from columns."""
    return rows * {STORED: 10e-3, PANELS: 0.5e-3, COLUMNS: 1e-3}.get(way, 2e-3)


def packed_is_fast(_kind: Kind, way: Way, rows: int) -> float:
    """Packed weights are faster by far."""
    return rows * (1e-3 if way == STORED else 10e-3)


def foreseen(groups: Sequence[Group], room_bytes: int, *, all_ways: bool) -> tuple[MeasuredKind, ...]:
    """What stands in for measuring products: they are as fast packed, in any way, whatever the room."""
    return tuple(
        msgspec.structs.replace(group.described, timings=made_up(group.kind, packed_is_fast))
        for group in groups
    )
