"""The figures of the bench: their names, units and which way is better; and the statistics of samples."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["s", "tokens/s", "share", "count"]
Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one number of a sample is.

    Attributes:
        name: its key in JSON.
        title: in tables.
        unit: of the number in JSON; tables show seconds as milliseconds where they are few.
        better: which way is better.
    """

    name: str
    title: str
    unit: Unit
    better: Better


FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("cold_first_seconds", "first token, new prompt", "s", "lower"),
        Figure("warm_first_seconds", "first token, same prompt", "s", "lower"),
        Figure("end_to_end_tokens_per_second", "end to end", "tokens/s", "higher"),
        Figure("decode_tokens_per_second", "decoding", "tokens/s", "higher"),
        Figure("first_seconds_p50", "first token p50", "s", "lower"),
        Figure("first_seconds_p99", "first token p99", "s", "lower"),
        Figure("gap_seconds_p50", "gap p50", "s", "lower"),
        Figure("gap_seconds_p99", "gap p99", "s", "lower"),
        Figure("longest_gap_seconds", "longest gap", "s", "lower"),
        Figure("newcomer_first_seconds", "newcomer's first token", "s", "lower"),
        Figure("first_turn_first_seconds", "first token, turn 1", "s", "lower"),
        Figure("later_turns_first_seconds", "first token, later turns p50", "s", "lower"),
        Figure("last_turn_first_seconds", "first token, last turn", "s", "lower"),
        Figure("cached_share", "prompt from cache", "share", "higher"),
        Figure("survivors_share", "others finished", "share", "higher"),
        Figure("afterwards_first_seconds", "first token afterwards", "s", "lower"),
        Figure("switch_first_seconds_p50", "first token p50", "s", "lower"),
        Figure("switch_first_seconds_max", "slowest first token", "s", "lower"),
        Figure("served", "served", "count", "higher"),
        Figure("refused", "refused (429, 503)", "count", "neither"),
        Figure("failed", "failed", "count", "lower"),
        Figure("served_seconds_p50", "served within p50", "s", "lower"),
        Figure("served_seconds_p99", "served within p99", "s", "lower"),
    )
}
"""In the order of the tables' columns."""


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which this share of the values lies, linear between ranks (as numpy's default).

    Args:
        values: in any order; None comes back when there are none.
        share: from 0 to 1.
    """
    if not values:
        return None
    ordered = sorted(values)
    position = (len(ordered) - 1) * share
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median(values: Sequence[float]) -> float | None:
    """The middle value, or the mean of the two in the middle; None when there are none."""
    return percentile(values, 0.5)


def medians(samples: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    """The median of each figure over the samples that have it."""
    kept: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.items():
            if value is not None:
                kept.setdefault(name, []).append(value)
    found = {name: median(values) for name, values in kept.items()}
    return {name: value for name, value in found.items() if value is not None}


def paired_ratios(ours: Sequence[float | None], baseline: Sequence[float | None]) -> tuple[float, ...]:
    """Ratios of samples that were taken one after the other; a pair of which one is missing is left out."""
    return tuple(
        mine / theirs
        for mine, theirs in zip(ours, baseline, strict=False)
        if mine is not None and theirs is not None and theirs > 0
    )


def counted(kinds: Iterable[str]) -> dict[str, int]:
    """How often each kind of failure came; what did not fail has no kind."""
    return dict(sorted(Counter(kind for kind in kinds if kind).items()))
