"""A draft model beside a model: what it has read of one row, and what it guesses that the row says next."""

from __future__ import annotations

import mlx.core as mx

from allod.core.drafts import Guess
from allod.core.ids import SequenceId, TokenId
from allod.core.step import StepPlan
from allod.runner import caches
from allod.runner.batch import Batch
from allod.runner.network import Network, Reading
from allod.runner.sampling import Sampler


class Drafter:
    """Follows one row at a time.

    Its guesses are chosen as the row chooses, with the numbers that the row will have: two models that see a
    text alike then say the same, at any temperature.

    Args:
        network: the draft model, whose layers all grow.
        vocabulary: how many tokens it scores; ids that the model has beyond these are never guessed.
    """

    def __init__(self, network: Network, vocabulary: int) -> None:
        self._network = network
        self._vocabulary = vocabulary
        self._of: SequenceId | None = None
        self._reading = Reading([])

    def follow(self, plan: StepPlan) -> list[object]:
        """Forget a row that leaves, begin another, or read on; returns what is on its way."""
        if self._of in plan.release or self._of in plan.park:
            self._of, self._reading = None, Reading([])
        guess = plan.guess
        if guess is None:
            return []
        if guess.start == 0:
            self._of, self._reading = guess.sequence, Reading(self._network.make_state())
        if guess.length:  # it reads them with the row's last token
            return []
        self._network.read([self._known(token) for token in guess.tokens], self._reading, (), {})
        arrays = caches.arrays(self._reading.state)
        mx.async_eval(arrays)
        return arrays

    def guess(self, guess: Guess, batch: Batch) -> mx.array:
        """Read the rest and say what the only row of a batch may say next: (length,) tokens, on their way.

        One is computed from the other without the host, which hands each to the device at once.
        """
        assert batch.last is not None
        (row,) = batch.sampler.rows
        vocabulary = batch.sampler.vocabulary
        sampler = Sampler(vocabulary, [row.ahead(0)])
        last = mx.minimum(batch.last, self._vocabulary - 1) if self._vocabulary < vocabulary else batch.last
        unread = [self._known(token) for token in guess.tokens]
        read = mx.concatenate([mx.array(unread, dtype=mx.int32), last]) if unread else last
        said: list[mx.array] = []
        for _ in range(guess.length):
            logits = self._network.logits(read[None], self._reading.state)[:, -1]
            read = sampler.choose(self._widened(logits, vocabulary)).tokens
            mx.async_eval(read)
            said.append(read)
        return mx.concatenate(said)

    def settle(self, guess: Guess, accepted: int) -> None:
        """Keep of what it said and read what the row took."""
        caches.trim(self._reading.state, max(0, guess.length - 1 - accepted))

    def _known(self, token: TokenId) -> TokenId:
        """A token, or in the place of one that it does not have its last one."""
        return min(token, self._vocabulary - 1)

    def _widened(self, logits: mx.array, vocabulary: int) -> mx.array:
        """(1, V) scores of as many tokens as the model has."""
        if self._vocabulary >= vocabulary:
            return logits[:, :vocabulary]
        missing = mx.full((1, vocabulary - self._vocabulary), -mx.inf, dtype=mx.float32)
        return mx.concatenate([logits.astype(mx.float32), missing], axis=1)
