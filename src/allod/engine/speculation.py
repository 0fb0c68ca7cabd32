"""When the only row that decodes is given a draft of what it may say next, and when not.

A draft is looked up where the text repeats itself, which is free; else the draft model makes it, where there
is one. Both need to know the token before it, so the step in flight must be landed first, which costs the
overlap of host and device. So drafts are made only where they are believed to pay.
"""

from dataclasses import dataclass, replace

from allod.core.drafts import Draft
from allod.core.step import ModelFacts, StepPlan, StepResult
from allod.engine.following import ChunkCap, Following
from allod.engine.lookup import Lookup
from allod.engine.pacing import PrefillPacer
from allod.engine.payoff import Payoff, Trust, learned
from allod.engine.sequence import Choice, Phase

DRAFT_TOKENS = (3, 7, 15)
"""Lengths of drafts: with the token before them 4, 8 and 16 rows, which matrix kernels like."""

_LEAST_RUN = 2
"""So many tokens must have come as expected: a first guess is wrong more often than not."""

_DRAFTS_IN_A_ROW = 64
_PLAIN_IN_A_ROW = 4
"""Among many drafts some plain steps are taken, to know still what they take."""


@dataclass(frozen=True, slots=True)
class _Flown:
    """A draft on its way, whose it is, and of which kind."""

    choice: Choice
    drafted: int
    payoff: Payoff


class Speculation:
    """Makes drafts for one model.

    Args:
        facts: whether its states can take back what was not accepted, and its draft model.
        pacer: knows for how long a step may read.
        chunk_cap: knows how much.
        is_wanted: the owner's word.
    """

    def __init__(
        self, facts: ModelFacts, pacer: PrefillPacer, chunk_cap: ChunkCap, *, is_wanted: bool
    ) -> None:
        self._is_possible = is_wanted and not facts.undrafted_because
        self._plain_seconds: float | None = None
        self._plain_due = 0
        self._in_a_row = 0
        self._lands_alone = False
        self._lookup = Lookup()
        self._of: Choice | None = None
        self._flown: _Flown | None = None
        self._looked_up = Payoff(DRAFT_TOKENS, Trust.NEVER)
        self._following = Following(facts.draft, pacer, chunk_cap) if facts.draft else None

    @property
    def is_flying(self) -> bool:
        """Whether a draft is on its way: what its row says next is known only when it landed."""
        return self._flown is not None

    @property
    def looked_up(self) -> tuple[int, int]:
        """How many tokens were drafted by lookup from the start, and how many of them said."""
        return self._looked_up.drafted_tokens, self._looked_up.accepted_tokens

    @property
    def guessed(self) -> tuple[int, int]:
        """How many tokens the draft model made from the start, and how many of them were said."""
        payoff = self._following.payoff if self._following else None
        return (payoff.drafted_tokens, payoff.accepted_tokens) if payoff else (0, 0)

    def waits(self, choice: Choice | None) -> bool:
        """Whether the row that decodes alone should land before it goes on, because a draft is likely to pay.

        Args:
            choice: the row; None where there is not just one, or other work.
        """
        if choice is None or choice.planned <= choice.generated:
            return False
        plain_seconds = self._to_beat(choice)
        if not plain_seconds:
            return False
        self._lands_alone = bool(
            self._lookup_length(choice, plain_seconds) or self._guess_length(choice, plain_seconds)
        )
        return self._lands_alone

    def add(self, plan: StepPlan, choice: Choice | None, *, is_first: bool) -> StepPlan:
        """A step with what the row may say next, or with what the draft model reads to know that.

        Args:
            plan: the step so far.
            choice: the row that decodes alone; None where there is not just one, or other work.
            is_first: no other step is on its way. What another does may be about other rows.
        """
        if plan.park and self._following:
            self._following.forget()
        plain_seconds = self._to_beat(choice) if choice else 0.0
        if choice is None or not plain_seconds:
            return plan
        if is_first and choice.planned == choice.generated + 1:
            drafted = self._drafted(plan, choice, plain_seconds)
            if drafted is not None:
                return drafted
        is_plain = not (plan.join or plan.prefill or plan.encode)
        reads = self._following.read_on(choice, plain_seconds) if self._following and is_plain else None
        return replace(plan, guess=reads) if reads else plan

    def observe(self, plan: StepPlan, result: StepResult) -> bool:
        """Learn from a step that came back; True if others cannot learn from it what plain steps take."""
        lands_alone, self._lands_alone = self._lands_alone, False
        if plan.drafted_tokens:
            self._land(len(result.sampled), result.seconds)
            return True
        if plan.guess is not None and self._following:
            self._following.payoff.lose(max(0.0, result.seconds - (self._plain_seconds or 0.0)))
            self._pass_plain()
            return True
        if len(plan.decode) == 1 and not (plan.join or plan.prefill or result.encoded):
            # While a step flies the next one is launched, unless that one has to wait.
            if not lands_alone or self._plain_seconds is None:
                self._plain_seconds = learned(self._plain_seconds, result.seconds)
            self._pass_plain()
        return False

    def _pass_plain(self) -> None:
        self._plain_due = max(0, self._plain_due - 1)
        self._looked_up.pass_plain()
        if self._following:
            self._following.payoff.pass_plain()

    def _land(self, said: int, seconds: float) -> None:
        assert self._flown is not None
        assert self._plain_seconds is not None
        choice, drafted, payoff = self._flown.choice, self._flown.drafted, self._flown.payoff
        self._flown = None
        choice.planned -= drafted + 1 - said
        if self._following and payoff is self._following.payoff:
            self._following.land(choice, drafted, said)
        payoff.land(drafted, said, seconds, self._plain_seconds)
        self._in_a_row += 1
        if self._in_a_row >= _DRAFTS_IN_A_ROW:
            self._in_a_row, self._plain_due = 0, _PLAIN_IN_A_ROW

    def _to_beat(self, choice: Choice) -> float:
        """The seconds of a plain step, which a draft has to beat; 0 where the row may be given none."""
        sampling = choice.sampling
        # Penalties and grammars would have to be taken back with what is not accepted.
        is_plain = not (sampling.needs_history or sampling.top_logprobs is not None or choice.job.grammar)
        if not (self._is_possible and is_plain and choice.phase is Phase.DECODING) or self._plain_due:
            return 0.0
        return (self._plain_seconds or 0.0) if choice.generated else 0.0

    def _drafted(self, plan: StepPlan, choice: Choice, plain_seconds: float) -> StepPlan | None:
        """The step with a draft; None where a plain step is better."""
        if length := self._lookup_length(choice, plain_seconds):
            draft = Draft(choice.sequence, self._lookup.expected(length))
            return self._fly(replace(plan, draft=draft), choice, self._looked_up)
        if self._following and (length := self._guess_length(choice, plain_seconds)):
            guess = self._following.guess(choice, length)
            return self._fly(replace(plan, guess=guess), choice, self._following.payoff)
        return None

    def _fly(self, plan: StepPlan, choice: Choice, payoff: Payoff) -> StepPlan:
        self._flown = _Flown(choice, plan.drafted_tokens, payoff)
        choice.planned += plan.drafted_tokens
        return plan

    def _lookup_length(self, choice: Choice, plain_seconds: float) -> int:
        """How long a draft should be that is looked up; 0 for none."""
        self._follow(choice)
        if self._looked_up.rests or self._lookup.run < _LEAST_RUN:
            return 0
        room = choice.job.max_tokens - choice.generated - 1
        available = len(self._lookup.expected(min(self._looked_up.longest, room)))
        return self._looked_up.bet(plain_seconds, available).length

    def _guess_length(self, choice: Choice, plain_seconds: float) -> int:
        return self._following.length(choice, plain_seconds) if self._following else 0

    def _follow(self, choice: Choice) -> None:
        """Know the choice's text up to its last token that came back."""
        if self._of is not choice:
            self._of, self._lookup = choice, Lookup(choice.job.tokens)
        for token in choice.said[len(self._lookup) - len(choice.job.tokens) :]:
            self._lookup.add(token)
