"""A draft model that knows what rows say, and errs where it is told to."""

from collections.abc import Callable, Collection, Sequence

from allod.core.drafts import Guess
from allod.core.ids import SequenceId, TokenId
from allod.core.step import LayerState, ModelFacts, StepPlan
from allod.testing.contract import require
from allod.testing.history import History

Speak = Callable[[History, int], TokenId]
"""What a row says behind a history, of which it said so many tokens itself."""


def state_bytes(facts: ModelFacts, layers: Sequence[LayerState], tokens: int) -> int:
    """What a state of so many tokens takes; buffers grow in steps."""
    step = facts.capacity_step_tokens
    capacity_tokens = (tokens + step - 1) // step * step
    return sum(layer.held_bytes(capacity_tokens) for layer in layers)


class FakeDrafter:
    """Keeps what it has read of one row, and is strict about it.

    Args:
        facts: of the model; without a draft model nothing may be asked of it.
        misses_every: at every so-manieth position its guess is wrong; None for none.
    """

    def __init__(self, facts: ModelFacts, misses_every: int | None) -> None:
        self._facts = facts
        self._misses_every = misses_every
        self._of: SequenceId | None = None
        self._history = History()

    @property
    def held_bytes(self) -> int:
        """What its state takes."""
        draft = self._facts.draft
        if draft is None or self._of is None:
            return 0
        return state_bytes(self._facts, draft.layers, self._history.length)

    def forget(self, sequences: Collection[SequenceId]) -> None:
        """The row has left the batch, if it is one of these."""
        if self._of in sequences:
            self._of, self._history = None, History()

    def read(self, guess: Guess, row: History) -> int:
        """Read on of a row; returns the bytes that takes for the time being.

        Args:
            guess: what to read.
            row: what the row has read; its last token is not among it.
        """
        draft = self._facts.draft
        require(draft is not None, "there is no draft model")
        assert draft is not None
        if guess.start == 0:
            self._of, self._history = guess.sequence, History()
        require(self._of == guess.sequence, f"nothing was read of {guess.sequence}")
        require(self._history.length == guess.start, f"{self._history.length} were read, not {guess.start}")
        self._history.read(guess.tokens)
        length = self._history.length
        known = row.trail[length].spelled if length <= row.length else None
        require(known == self._history.spelled, "the draft model reads what the row has not")
        require(not guess.length or length == row.length, "it guesses before it has read the row")
        require(length + guess.length <= draft.context_tokens, "the draft model's context is too short")
        each = draft.transient_bytes_per_token + draft.transient_bytes_per_token_and_context * length
        return len(guess.tokens) * each

    def say(self, guess: Guess, pending: TokenId, said: int, speak: Speak) -> tuple[TokenId, ...]:
        """Read the row's last token, and guess what follows."""
        tokens: list[TokenId] = []
        for place in range(guess.length):
            self._history.read((tokens[-1] if tokens else pending,))
            token = speak(self._history, said + place)
            every = self._misses_every
            is_wrong = every is not None and self._history.length % every == 0
            tokens.append((token + is_wrong) % self._facts.vocabulary)
        return tuple(tokens)

    def settle(self, guess: Guess, accepted: int) -> None:
        """Keep of what it said and read what the row took."""
        self._history.cut(self._history.length - max(0, guess.length - 1 - accepted))


def require_drafts(plan: StepPlan, facts: ModelFacts) -> None:
    """What the port says of a step with drafts or a guess.

    Raises:
        ContractViolation: it is not so.
    """
    named = [draft.sequence for draft in plan.drafts]
    require(len(named) == len(set(named)) and not (named and plan.guess), "a row reads one draft")
    require(not (plan.prefill or plan.encode or plan.join), "a step with a draft does nothing else")
    require(not facts.undrafted_because, "states of this model cannot take a draft back")
    require(all(draft.tokens for draft in plan.drafts), "a draft is of one token or more")
    require(set(named) <= set(plan.decode), "a draft is of a row")
    alone = len(plan.decode) == 1
    require(alone or facts.reads_beside, "a draft beside rows, which this model reads each by itself")
