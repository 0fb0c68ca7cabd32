"""How far a run is."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a run is.

    Attributes:
        words: what goes on.
        done: samples taken.
        total: samples in all.
    """

    words: str
    done: int
    total: int


OnMoment = Callable[[Moment], None]
