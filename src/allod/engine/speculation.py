"""When the only row that decodes is given a draft of what it may say next, and when not.

A step that reads a draft of k tokens behind the last one makes up to k + 1 tokens, and costs more than a
plain step: how much more depends on the device, and is learned. A draft needs to know the token before it, so
the step in flight must be landed first, which costs the overlap of host and device. It is therefore made only
where the text has been repeating itself for some tokens, and given up where it was a loss, to be tried again
ever more rarely.
"""

from dataclasses import dataclass

from allod.core.step import Draft, ModelFacts
from allod.engine.lookup import Lookup
from allod.engine.sequence import Choice, Phase

DRAFT_TOKENS = (3, 7, 15)
"""Lengths of drafts: with the token before them 4, 8 and 16 rows, which matrix kernels like."""

_LEAST_RUN = 2
"""So many tokens must have come as expected: a first guess is wrong more often than not."""

_FIRST_REST_TOKENS = 8
_LONGEST_REST_TOKENS = 2048
"""After a loss drafts rest for so many tokens at first, for twice as many after each further one."""

_WEIGHT = 0.25
_FIRST_ACCEPTANCE = 0.8
_PLAIN = 0


@dataclass(frozen=True, slots=True)
class Flown:
    """A draft on its way, and whose it is."""

    choice: Choice
    draft: Draft


class Speculation:
    """Makes drafts for one model.

    Args:
        facts: whether its states can take back what was not accepted.
        is_wanted: the owner's word.
    """

    def __init__(self, facts: ModelFacts, *, is_wanted: bool) -> None:
        self._is_possible = is_wanted and not facts.undrafted_because
        self._seconds: dict[int, float] = {}
        self._acceptance = _FIRST_ACCEPTANCE
        self._rest_tokens = _FIRST_REST_TOKENS
        self._resting = 0
        self._plain_tokens = 0
        self._lookup = Lookup()
        self._of: Choice | None = None
        self._flown: Flown | None = None
        self.drafted_tokens = 0
        self.accepted_tokens = 0

    @property
    def is_flying(self) -> bool:
        """Whether a draft is on its way: what its row says next is known only when it landed."""
        return self._flown is not None

    def waits(self, choice: Choice | None) -> bool:
        """Whether the row that decodes alone should land before it goes on, because a draft is likely to pay.

        Args:
            choice: the row; None where there is not just one, or other work.
        """
        if choice is None or not self._may_draft(choice):
            return False
        return choice.planned > choice.generated and bool(self._length(choice))

    def draft(self, choice: Choice | None) -> Draft | None:
        """What the row may say next whose step was planned just now; None where a plain step is better."""
        if choice is None or not self._may_draft(choice) or choice.planned != choice.generated + 1:
            return None
        length = self._length(choice)
        if not length:
            return None
        tokens = self._lookup.expected(length)
        draft = Draft(choice.sequence, tokens)
        self._flown = Flown(choice, draft)
        choice.planned += len(tokens)
        return draft

    def observe_plain(self, seconds: float) -> None:
        """Learn what a step of one row and nothing else takes."""
        self._learn(_PLAIN, seconds)
        self._resting = max(0, self._resting - 1)
        self._plain_tokens += 1
        if self._plain_tokens > _LONGEST_REST_TOKENS:
            # What drafts cost may be another now: a first one may have waited for kernels to be compiled.
            self._seconds = {_PLAIN: self._seconds[_PLAIN]}
            self._plain_tokens = 0

    def land(self, said: int, seconds: float) -> None:
        """Learn from a draft that came back.

        Args:
            said: how many tokens the step made: the accepted ones and one more.
            seconds: what it took.
        """
        assert self._flown is not None
        choice, drafted = self._flown.choice, len(self._flown.draft.tokens)
        self._flown = None
        self._plain_tokens = 0
        choice.planned -= drafted + 1 - said
        self.drafted_tokens += drafted
        self.accepted_tokens += said - 1
        self._learn(drafted, seconds)
        # Of k tokens a were accepted: each as likely as p = a / (a + 1), all of them as likely as they come.
        accepted = said - 1
        latest = 1.0 if accepted == drafted else accepted / (accepted + 1)
        self._acceptance += (latest - self._acceptance) * _WEIGHT
        if said * self._seconds[_PLAIN] >= seconds:
            self._rest_tokens = _FIRST_REST_TOKENS
            return
        self._resting = self._rest_tokens
        self._rest_tokens = min(2 * self._rest_tokens, _LONGEST_REST_TOKENS)

    def _may_draft(self, choice: Choice) -> bool:
        sampling = choice.sampling
        # Penalties and grammars would have to be taken back with what is not accepted.
        is_plain = not (sampling.needs_history or sampling.top_logprobs is not None or choice.job.grammar)
        if not (self._is_possible and is_plain and choice.phase is Phase.DECODING) or self._resting:
            return False
        return _PLAIN in self._seconds and choice.generated > 0

    def _length(self, choice: Choice) -> int:
        """How long a draft should be; 0 for none."""
        self._follow(choice)
        if self._lookup.run < _LEAST_RUN:
            return 0
        room = choice.job.max_tokens - choice.generated - 1
        best, most = 0, 1.0
        for length in DRAFT_TOKENS:
            available = len(self._lookup.expected(min(length, room)))
            if available < length:
                break
            gain = self._expected(length) * self._seconds[_PLAIN] / self._cost(length)
            if gain > most:
                best, most = length, gain
        return best

    def _follow(self, choice: Choice) -> None:
        """Know the choice's text up to its last token that came back."""
        if self._of is not choice:
            self._of, self._lookup = choice, Lookup(choice.job.tokens)
        for token in choice.said[len(self._lookup) - len(choice.job.tokens) :]:
            self._lookup.add(token)

    def _expected(self, length: int) -> float:
        """Tokens that a step with such a draft is believed to make: 1 + p + p^2 + ... + p^k."""
        return sum(self._acceptance**place for place in range(length + 1))

    def _cost(self, length: int) -> float:
        """Seconds of a step with such a draft; of one that was never tried, as of the nearest that was."""
        return self._seconds[max(tried for tried in self._seconds if tried <= length)]

    def _learn(self, length: int, seconds: float) -> None:
        before = self._seconds.get(length, seconds)
        self._seconds[length] = before + (seconds - before) * _WEIGHT
