"""What a text would say next if it repeated itself: n-gram lookup in the prompt and the answer so far.

Saxena 2023, "Prompt lookup decoding". Answers that quote, edit or rewrite what stands in the prompt repeat
long parts of it word for word.
"""

from collections.abc import Iterable

from allod.core.ids import TokenId

_GRAM = 3
"""Tokens that must agree before what followed them is believed."""


class Lookup:
    """A text that grows, and where else in it the same was said before.

    Args:
        tokens: what is there already.
    """

    def __init__(self, tokens: Iterable[TokenId] = ()) -> None:
        self._tokens: list[TokenId] = []
        self._ends: dict[tuple[TokenId, ...], int] = {}
        self._at: int | None = None
        self._run = 0
        for token in tokens:
            self.add(token)

    def __len__(self) -> int:
        """How many tokens it has."""
        return len(self._tokens)

    @property
    def run(self) -> int:
        """How many tokens in a row came as they were expected."""
        return self._run

    def add(self, token: TokenId) -> None:
        """Take in the next token: go on with what was expected, or look for another place."""
        is_expected = self._at is not None and self._tokens[self._at] == token
        self._tokens.append(token)
        gram = tuple(self._tokens[-_GRAM:])
        if self._at is not None and is_expected:
            self._at += 1
            self._run += 1
        else:
            # The latest place is the most alike: a loop in an answer, or the draft before this one.
            self._at = self._ends.get(gram) if len(gram) == _GRAM else None
            self._run = 0
        if len(gram) == _GRAM:
            self._ends[gram] = len(self._tokens)

    def expected(self, most: int) -> tuple[TokenId, ...]:
        """What would follow, at most so many; empty where nothing like it was said before."""
        if self._at is None:
            return ()
        return tuple(self._tokens[self._at : self._at + most])
