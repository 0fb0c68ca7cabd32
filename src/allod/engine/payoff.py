"""Whether drafts of one kind pay, learned from those that came back; after losses they rest.

A step that reads k tokens of a draft behind the last one makes up to k + 1 tokens, and costs more than a
plain step: how much more depends on the device and on who makes the draft.
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


@dataclass(frozen=True, slots=True)
class Bet:
    """The length of draft that is believed to be best, and how many times as fast tokens then come.

    With a length of 0 none is believed to be faster than plain steps.
    """

    length: int = 0
    gain: float = 1.0


class Payoff:
    """What drafts of one kind cost and bring.

    Args:
        lengths: those that are tried, the shortest first.
        trust: what a loss says.
        token_seconds: what making a token of a draft takes, as far as is known before any was tried.
    """

    def __init__(self, lengths: Sequence[int], trust: Trust, token_seconds: float = 0.0) -> None:
        self._lengths = lengths
        self._trust = trust
        self._token_seconds = token_seconds
        self._seconds: dict[int, float] = {}
        self._acceptance = FIRST_ACCEPTANCE
        self._is_trusted = False
        self._rest_tokens = FIRST_REST_TOKENS
        self._resting = 0
        self._plain_tokens = 0
        self._lost_seconds = 0.0
        self.drafted_tokens = 0
        self.accepted_tokens = 0

    @property
    def longest(self) -> int:
        """The longest draft that is tried."""
        return self._lengths[-1]

    @property
    def rests(self) -> bool:
        """Whether none is made for a while."""
        return self._resting > 0

    def bet(self, plain_seconds: float, most_tokens: int) -> Bet:
        """How long a draft should be.

        Args:
            plain_seconds: what a step without takes.
            most_tokens: a longer one cannot be.
        """
        best, least_gain = Bet(), 1.0 if self._trust is Trust.NEVER else LEAST_GAIN
        for length in self._lengths:
            gain = self._expected(length) * plain_seconds / self._cost(length, plain_seconds)
            if length <= most_tokens and gain > max(best.gain, least_gain):
                best = Bet(length, gain)
        return best

    def pass_plain(self) -> None:
        """A token was said without a draft of this kind."""
        self._resting = max(0, self._resting - 1)
        self._plain_tokens += 1
        if self._plain_tokens > LONGEST_REST_TOKENS:
            # What drafts cost may be another now: a first one may have waited for kernels to be compiled, and
            # the machine may have been busy when it was measured what making them takes.
            self._seconds.clear()
            self._token_seconds /= 2
            self._plain_tokens = 0

    def lose(self, seconds: float) -> None:
        """Something was spent on drafts that are yet to come."""
        self._lost_seconds += seconds

    def land(self, drafted: int, said: int, seconds: float, plain_seconds: float) -> None:
        """Learn from a draft that came back.

        Args:
            drafted: its length.
            said: how many tokens the step made: the accepted ones and one more.
            seconds: what it took.
            plain_seconds: what a step without takes.
        """
        self._plain_tokens = 0
        if drafted not in self._seconds and self._trust is Trust.ONCE_WON:
            # The first of a length may have waited for what is made once.
            seconds = min(seconds, self._cost(drafted, plain_seconds))
        accepted = said - 1
        self.drafted_tokens += drafted
        self.accepted_tokens += accepted
        self._seconds[drafted] = learned(self._seconds.get(drafted), seconds)
        # Of k tokens a were accepted: each as likely as p = a / (a + 1), all of them as likely as they come.
        latest = 1.0 if accepted == drafted else accepted / (accepted + 1)
        self._acceptance += (latest - self._acceptance) * _WEIGHT
        lost_seconds = self._seconds[drafted] - said * plain_seconds
        self._lost_seconds = max(0.0, self._lost_seconds + lost_seconds)
        if lost_seconds <= 0:
            self._rest_tokens = FIRST_REST_TOKENS
            self._is_trusted = self._trust is Trust.ONCE_WON
        elif not (self._is_trusted and self.bet(plain_seconds, self.longest).length):
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

    def _expected(self, length: int) -> float:
        """Tokens that a step with such a draft is believed to make: 1 + p + p^2 + ... + p^k."""
        return sum(self._acceptance**place for place in range(length + 1))

    def _cost(self, length: int, plain_seconds: float) -> float:
        """Seconds of a step with such a draft; of one that was never tried, by the nearest that was."""
        nearest = max((tried for tried in self._seconds if tried <= length), default=0)
        known_seconds = self._seconds.get(nearest, plain_seconds)
        return known_seconds + (length - nearest) * self._token_seconds
