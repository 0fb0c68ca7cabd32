"""Whether drafts of one kind pay, learned from those that came back; after losses they rest.

A step that reads k tokens of a draft behind a row's last one makes up to k + 1 tokens of it, and costs more
than a plain step: how much more depends on the device and on who makes the draft. All rows of a step wait
for the drafts of each, so they are bet on together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

FIRST_REST_TOKENS = 8
LONGEST_REST_TOKENS = 2048
"""After a loss drafts rest for so many tokens at first, for twice as many after each further one."""

LOSS_SHARE = 0.04
"""Most of the time that may be lost in the long run: what was lost is spread over a rest."""

LEAST_GAIN = 1.1
"""A draft model must be believed to gain so much: of lengths that gain nothing one always looks better."""

_FASTER_WEIGHT = 0.5
_SLOWER_WEIGHT = 0.05
_WEIGHT = 0.25
FIRST_ACCEPTANCE = 0.8


def learned(before: float | None, seconds: float) -> float:
    """What a step takes when nothing disturbs it.

    On a busy machine some steps take twice as long as others. What drafts gain would be chance if it were
    told by those that happened to be slow, so that faster ones count by half, slower ones by a twentieth.

    Args:
        before: what was believed; None for nothing.
        seconds: what one took.
    """
    if before is None:
        return seconds
    return before + (seconds - before) * (_FASTER_WEIGHT if seconds < before else _SLOWER_WEIGHT)


class Trust(Enum):
    """What a loss says.

    A text that went elsewhere than where it was looked up has left that place: the next draft from there
    would be a loss too. A draft model that errs may be right the next time: once it has won, it is believed
    until what it wins on average is no gain any more.
    """

    NEVER = auto()
    ONCE_WON = auto()


class Costs:
    """What steps take by how much is drafted in them.

    Args:
        token_seconds: what making a token of a draft takes, as far as is known before any was tried.
        forgives_first: the first step with so much drafted may have waited for what is made once.
    """

    def __init__(self, token_seconds: float = 0.0, *, forgives_first: bool = False) -> None:
        self._token_seconds = token_seconds
        self._forgives_first = forgives_first
        self._seconds: dict[tuple[int, int], float] = {}
        self._plain_steps = 0

    def expect(self, plain_seconds: float, drafted: int, rows: int = 1) -> float:
        """Seconds of a step; of one that was never tried, by the nearest with less drafts that was.

        Args:
            plain_seconds: what one without drafts takes.
            drafted: tokens of all its drafts.
            rows: how many decode.
        """
        tried = [each for among, each in self._seconds if among == rows and each <= drafted]
        nearest = max(tried, default=0)
        known_seconds = self._seconds.get((rows, nearest), plain_seconds)
        return known_seconds + (drafted - nearest) * self._token_seconds

    def learn(self, seconds: float, plain_seconds: float, drafted: int, rows: int = 1) -> None:
        """A step with drafts took so long; the rest is as for `expect`."""
        self._plain_steps = 0
        before = self._seconds.get((rows, drafted))
        if before is None and self._forgives_first:
            seconds = min(seconds, self.expect(plain_seconds, drafted, rows))
        self._seconds[rows, drafted] = learned(before, seconds)

    def pass_plain(self) -> None:
        """A step was taken without drafts; after many, what they cost is to be found out anew.

        It may be another by then: a first one may have waited for kernels to be compiled, and the machine may
        have been busy when it was measured what making them takes.
        """
        self._plain_steps += 1
        if self._plain_steps > LONGEST_REST_TOKENS:
            self._seconds.clear()
            self._token_seconds /= 2
            self._plain_steps = 0


@dataclass(frozen=True, slots=True)
class Bet:
    """How long drafts should be, and how many times as fast tokens then come.

    Attributes:
        lengths: of each draft that could be made; 0 for none. Empty where none is believed to gain anything.
        gain: over plain steps, of all rows together.
    """

    lengths: tuple[int, ...] = ()
    gain: float = 1.0

    @property
    def drafted(self) -> int:
        """Tokens of all drafts."""
        return sum(self.lengths)


class Payoff:
    """What drafts of one kind bring.

    Args:
        lengths: those that are tried, the shortest first.
        trust: what a loss says.
        costs: what steps with such drafts take; of other rows' drafts too.
    """

    def __init__(self, lengths: Sequence[int], trust: Trust, costs: Costs) -> None:
        self.lengths = lengths
        self.costs = costs
        self._trust = trust
        self._acceptance = FIRST_ACCEPTANCE
        self._is_trusted = False
        self._rest_tokens = FIRST_REST_TOKENS
        self._resting = 0
        self._lost_seconds = 0.0

    @property
    def rests(self) -> bool:
        """Whether none is made for a while."""
        return self._resting > 0

    def expected(self, length: int) -> float:
        """Tokens that a row with such a draft is believed to say in a step: 1 + p + p^2 + ... + p^k."""
        return sum(self._acceptance**place for place in range(length + 1))

    def bet(self, plain_seconds: float, most_tokens: int) -> Bet:
        """How long a draft of the only row should be.

        Args:
            plain_seconds: what a step without takes.
            most_tokens: a longer one cannot be.
        """
        least_gain = 1.0 if self._trust is Trust.NEVER else LEAST_GAIN
        return best_bet([(self, most_tokens)], 1, plain_seconds, least_gain=least_gain)

    def pass_plain(self) -> None:
        """A token was said without a draft of this kind."""
        self._resting = max(0, self._resting - 1)

    def lose(self, seconds: float) -> None:
        """Something was spent on drafts that are yet to come."""
        self._lost_seconds += seconds

    def land(self, drafted: int, said: int, lost_seconds: float, plain_seconds: float) -> None:
        """Learn from a draft that came back.

        Args:
            drafted: its length.
            said: how many tokens the row said: the accepted ones and one more.
            lost_seconds: how much longer these took than they would have without; negative if less long.
            plain_seconds: what a step without takes.
        """
        # Of k tokens a were accepted: each as likely as p = a / (a + 1), all of them as likely as they come.
        accepted = said - 1
        latest = 1.0 if accepted == drafted else accepted / (accepted + 1)
        self._acceptance += (latest - self._acceptance) * _WEIGHT
        self._lost_seconds = max(0.0, self._lost_seconds + lost_seconds)
        if lost_seconds <= 0:
            self._rest_tokens = FIRST_REST_TOKENS
            self._is_trusted = self._trust is Trust.ONCE_WON
        elif not (self._is_trusted and self.bet(plain_seconds, self.lengths[-1]).lengths):
            self._rest(plain_seconds)

    def _rest(self, plain_seconds: float) -> None:
        self._resting = self._rest_tokens
        self._rest_tokens = min(2 * self._rest_tokens, LONGEST_REST_TOKENS)
        if self._trust is Trust.NEVER:
            return
        # Each try costs the reading of a prompt too. Whether the next text is as hard to guess is not known.
        owed_tokens = self._lost_seconds / plain_seconds / LOSS_SHARE
        self._resting = max(self._resting, min(int(owed_tokens), LONGEST_REST_TOKENS))
        self._lost_seconds = 0.0
        self._acceptance = FIRST_ACCEPTANCE
        self._is_trusted = False


def best_bet(
    drafts: Sequence[tuple[Payoff, int]],
    rows: int,
    plain_seconds: float,
    *,
    least_gain: float = 1.0,
    most_drafted: int | None = None,
) -> Bet:
    """How long each draft of a step should be, so that the tokens of all its rows come fastest.

    Args:
        drafts: those that could be made, of rows of their own, and how long each can be; all of one kind.
        rows: how many decode, with drafts or without.
        plain_seconds: what a step without drafts takes.
        least_gain: what must be believed to be gained.
        most_drafted: tokens of all drafts; None for any number.
    """
    best = Bet()
    if not drafts:
        return best
    first, _ = drafts[0]
    for longest in first.lengths:
        lengths = tuple(_fitting(payoff.lengths, min(longest, most)) for payoff, most in drafts)
        bet = Bet(lengths, _gain(drafts, lengths, rows, plain_seconds))
        fits = most_drafted is None or bet.drafted <= most_drafted
        if bet.drafted and fits and bet.gain > max(best.gain, least_gain):
            best = bet
    return best


def _gain(
    drafts: Sequence[tuple[Payoff, int]], lengths: Sequence[int], rows: int, plain_seconds: float
) -> float:
    more = sum(payoff.expected(length) - 1 for (payoff, _), length in zip(drafts, lengths, strict=True))
    seconds = drafts[0][0].costs.expect(plain_seconds, sum(lengths), rows)
    return (1 + more / rows) * plain_seconds / seconds


def _fitting(lengths: Sequence[int], most: int) -> int:
    """The longest that is not too long; 0 where all are."""
    return max((length for length in lengths if length <= most), default=0)
