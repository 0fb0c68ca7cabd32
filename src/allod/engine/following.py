"""What the draft model reads of the row that decodes alone, and when that is worth its time.

It reads in pieces beside the row's own steps, which are held up by no more than a prompt's chunk may. Its
guesses are then read by the row; of what it said itself it keeps what the row took.
"""

from collections.abc import Callable, Sequence

from allod.core.drafts import Guess
from allod.core.ids import TokenId
from allod.core.step import DraftFacts
from allod.engine.pacing import PrefillPacer
from allod.engine.payoff import Bet, Costs, Payoff, Trust
from allod.engine.sequence import Choice

GUESS_TOKENS = (1, 3, 7, 15)
"""Lengths of guesses: with the token before them 2, 4, 8 and 16 rows, which matrix kernels like."""

AHEAD_TOKENS = 16
"""So few unread tokens are read in the step that guesses."""

_LEAST_COMING_TOKENS = 32
"""An answer is believed to go on for as long as it has lasted, and for so many tokens in any case."""

ChunkCap = Callable[[Sequence[Choice]], int]
"""How many tokens beside rows memory allows to be read at once."""


class Following:
    """The draft model as the engine sees it.

    Args:
        facts: what it takes.
        pacer: knows for how long a step may read.
        chunk_cap: knows how much.
    """

    def __init__(self, facts: DraftFacts, pacer: PrefillPacer, chunk_cap: ChunkCap) -> None:
        self._facts = facts
        self._pacer = pacer
        self._chunk_cap = chunk_cap
        self._of: Choice | None = None
        self._read_tokens = 0
        costs = Costs(facts.saying_seconds, forgives_first=True)
        self.payoff = Payoff(GUESS_TOKENS, Trust.ONCE_WON, costs)

    def forget(self) -> None:
        """The runner has forgotten what was read."""
        self._of = None

    def pass_plain(self) -> None:
        """A token was said without its help."""
        self.payoff.pass_plain()
        self.payoff.costs.pass_plain()

    def length(self, choice: Choice, plain_seconds: float) -> int:
        """How much it should guess of a row now; 0 for nothing, also while too much is unread."""
        if self._unread(choice) > AHEAD_TOKENS:
            return 0
        return self._bet(choice, plain_seconds).drafted

    def guess(self, choice: Choice, length: int) -> Guess:
        """Read what is unread of a row that has landed, and guess."""
        return self._go_on(choice, self._unread(choice), length)

    def read_on(self, choice: Choice, plain_seconds: float) -> Guess | None:
        """Read a piece of what is unread; None where that is little, or is not believed to pay."""
        unread = self._unread(choice)
        bet = self._bet(choice, plain_seconds)
        if unread <= AHEAD_TOKENS or not bet.lengths:
            return None
        coming = min(max(choice.generated, _LEAST_COMING_TOKENS), choice.job.max_tokens - choice.generated)
        saved_seconds = coming * plain_seconds * (1 - 1 / bet.gain)
        if unread * self._facts.reading_seconds_per_token > saved_seconds:
            return None
        most = self._pacer.draft_tokens(
            cap_tokens=self._chunk_cap([choice]), context_tokens=self._start(choice)
        )
        return self._go_on(choice, min(unread, most), 0) if most > 0 else None

    def land(self, choice: Choice, drafted: int, said: int) -> None:
        """Of a guess that came back so many tokens less one were accepted; they are not told yet."""
        # The last token that it said was not read by itself.
        self._read_tokens = _known_tokens(choice) + min(said - 1, drafted - 1)

    def _go_on(self, choice: Choice, count: int, length: int) -> Guess:
        start = self._start(choice)
        self._of, self._read_tokens = choice, start + count
        return Guess(choice.sequence, start, _tokens(choice, start, start + count), length)

    def _start(self, choice: Choice) -> int:
        return self._read_tokens if self._of is choice else 0

    def _unread(self, choice: Choice) -> int:
        """How many tokens before the row's last known one it has not read."""
        return _known_tokens(choice) - 1 - self._start(choice)

    def _bet(self, choice: Choice, plain_seconds: float) -> Bet:
        if self.payoff.rests:
            return Bet()
        room = choice.job.max_tokens - choice.generated - 1
        context = self._facts.context_tokens - _known_tokens(choice)
        return self.payoff.bet(plain_seconds, min(room, context))


def _known_tokens(choice: Choice) -> int:
    return len(choice.job.tokens) + choice.generated


def _tokens(choice: Choice, start: int, end: int) -> tuple[TokenId, ...]:
    """Some tokens of prompt and answer."""
    prompt = choice.job.tokens
    before = len(prompt)
    return (*prompt[start:end], *choice.said[max(0, start - before) : max(0, end - before)])
