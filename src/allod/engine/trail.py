"""What a row has said and read, where it may go on from there, and whether it did."""

from collections.abc import Sequence

from allod.core.ids import TokenId
from allod.engine.lookup import Lookup
from allod.engine.payoff import Costs, Payoff, Trust

DRAFT_TOKENS = (3, 7, 15)
"""Lengths of drafts: with the token before them 4, 8 and 16 rows, which matrix kernels like."""

_LEAST_RUN = 2
"""So many tokens must have come as expected: a first guess is wrong more often than not."""


class Trail:
    """One row's text, looked up in itself.

    Args:
        prompt: what it had read before it said anything.
        costs: what steps with drafts take.
    """

    def __init__(self, prompt: Sequence[TokenId], costs: Costs) -> None:
        self.payoff = Payoff(DRAFT_TOKENS, Trust.NEVER, costs)
        self._prompt_tokens = len(prompt)
        self._lookup = Lookup(prompt)

    def follow(self, said: Sequence[TokenId]) -> None:
        """Know the text up to the last token that came back."""
        for token in said[len(self._lookup) - self._prompt_tokens :]:
            self._lookup.add(token)

    def available(self, most: int) -> int:
        """How long a draft can be now; 0 where none should be made.

        Args:
            most: it may be no longer.
        """
        if self.payoff.rests or self._lookup.run < _LEAST_RUN:
            return 0
        return len(self._lookup.expected(min(DRAFT_TOKENS[-1], most)))

    def expected(self, length: int) -> tuple[TokenId, ...]:
        """What the row may say next."""
        return self._lookup.expected(length)
