"""What a row of a FakeRunner has read, as numbers that tell any two histories apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from allod.core.ids import TokenId

PRIME = 2**61 - 1
_MULTIPLIER = 1_000_003


class Mark(NamedTuple):
    """What all that was read up to a position comes to.

    Attributes:
        digest: over what stood there.
        spelled: over the tokens, also where a picture was read in their place.
    """

    digest: int
    spelled: int


START = Mark(1, 1)
"""Nothing was read."""


def folded(digest: int, numbers: Sequence[int]) -> int:
    """A digest gone on with."""
    for number in numbers:
        digest = (digest * _MULTIPLIER + number + 1) % PRIME
    return digest


@dataclass(slots=True)
class History:
    """All that a row or state has read: what it came to behind each token."""

    trail: list[Mark] = field(default_factory=lambda: [START])
    chunk_tokens: int = 0
    """How many were read last, at once."""

    @property
    def digest(self) -> int:
        """Over what stood at all positions."""
        return self.trail[-1].digest

    @property
    def spelled(self) -> int:
        """Over all tokens."""
        return self.trail[-1].spelled

    @property
    def length(self) -> int:
        """How many tokens were read."""
        return len(self.trail) - 1

    def read(self, tokens: Sequence[TokenId], seen: Sequence[int] | None = None) -> None:
        """Go on; `seen` is what stands at the tokens where that is not the tokens."""
        self.chunk_tokens = len(tokens)
        for token, what in zip(tokens, tokens if seen is None else seen, strict=True):
            self.trail.append(Mark(folded(self.digest, (what,)), folded(self.spelled, (token,))))

    def cut(self, length: int) -> None:
        """Go back to where so many tokens were read."""
        del self.trail[length + 1 :]

    def copy(self) -> "History":
        """One that goes on by itself."""
        return History(list(self.trail), self.chunk_tokens)

    def next_token(self, seed: int | None, vocabulary: int) -> TokenId:
        """What is said behind it."""
        mixed = (self.digest ^ ((seed or 0) * 0x9E3779B97F4A7C15 + 0x7F4A7C15)) % PRIME
        return (mixed * mixed % PRIME) % vocabulary
