"""Where a text can be cut so that both parts have the tokens of the whole: before special tokens."""

from dataclasses import dataclass
from typing import NamedTuple

from allod.core.ids import TokenId


class Cut(NamedTuple):
    """A special token in a text: its place among the tokens, and where its text begins and ends."""

    place: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as tokens.

    Attributes:
        tokens: its tokens.
        cuts: special tokens before which the text can be cut, in order.
    """

    tokens: tuple[TokenId, ...]
    cuts: tuple[Cut, ...]
