"""Where a text can be cut so that its parts have the tokens of the whole: before special tokens, or words."""

from dataclasses import dataclass
from typing import NamedTuple

from allod.core.ids import TokenId


class Cut(NamedTuple):
    """A special token in a text: its place among the tokens, and where its text begins and ends."""

    place: int
    start: int
    end: int


class Word(NamedTuple):
    """A word in a text, with the space before it: the place of its first token, and where the space is."""

    place: int
    start: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as tokens.

    Attributes:
        tokens: its tokens.
        cuts: special tokens before which the text can be cut, in order.
        words: some words before which it can be cut, in order; none where that is not known to be exact. Each
            is the first that is some length behind the one before it, so that a text read from one on has the
            rest.
    """

    tokens: tuple[TokenId, ...]
    cuts: tuple[Cut, ...]
    words: tuple[Word, ...] = ()
