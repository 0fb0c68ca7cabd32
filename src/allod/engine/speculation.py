"""When rows are given drafts of what they may say next, and when not.

A draft is looked up where a text repeats itself, which is free; else the draft model makes it, where there
is one and a row is alone. Both need to know the token before it, so the step in flight must be landed first,
which costs the overlap of host and device. So drafts are made only where they are believed to pay.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from allod.core.drafts import STEPS_APART, Draft
from allod.core.step import ModelFacts, StepPlan, StepResult
from allod.engine.following import ChunkCap, Following
from allod.engine.pacing import PrefillPacer
from allod.engine.payoff import LEAST_GAIN, Costs, Payoff, best_bet, learned
from allod.engine.sequence import Choice, Phase
from allod.engine.trail import Trail

_DRAFTS_IN_A_ROW = 64
_PLAIN_IN_A_ROW = 4
"""Among many drafts some plain steps are taken, to know still what they take."""

Choices = Sequence[Choice]


@dataclass(frozen=True, slots=True)
class _Due:
    """A row that gets a draft, of what length, and what learns from it."""

    choice: Choice
    length: int
    payoff: Payoff


@dataclass(frozen=True, slots=True)
class _Flown:
    """Drafts on their way, among how many rows."""

    drafts: Sequence[_Due]
    rows: int


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
        self._is_shared = facts.reads_beside
        self._chunk_cap = chunk_cap
        self._plain_seconds: dict[int, float] = {}
        self._plain_due = 0
        self._in_a_row = 0
        self._lands_alone = False
        self._flown: _Flown | None = None
        self._undrafted_steps = STEPS_APART
        # Before it is known what drafts cost, they are believed to cost what a chunk does.
        self._costs = Costs(facts.chunk_seconds / facts.chunk_tokens if facts.chunk_tokens else 0.0)
        self._following = Following(facts.draft, pacer, chunk_cap) if facts.draft else None
        self.looked_up = (0, 0)
        """How many tokens were drafted by lookup from the start, and how many of them said."""
        self.guessed = (0, 0)
        """How many tokens the draft model made from the start, and how many of them were said."""

    @property
    def is_flying(self) -> bool:
        """Whether drafts are on their way: what rows say next is known only when they landed."""
        return self._flown is not None

    def waits(self, choices: Choices) -> bool:
        """Whether the rows that decode should land before they go on, because drafts are likely to pay.

        Args:
            choices: the rows; none where there is other work.
        """
        if all(choice.planned <= choice.generated for choice in choices):
            return False
        plain_seconds = self._to_beat(choices)
        if not plain_seconds:
            return False
        self._lands_alone = bool(
            self._looked_up(choices, plain_seconds) or self._guess_length(choices, plain_seconds)
        )
        return self._lands_alone

    def add(self, plan: StepPlan, choices: Choices, *, is_first: bool) -> StepPlan:
        """A step with what rows may say next, or with what the draft model reads to know that.

        Args:
            plan: the step so far.
            choices: the rows that decode; none where there is other work.
            is_first: no other step is on its way. What another does may be about other rows.
        """
        if plan.park and self._following:
            self._following.forget()
        plain_seconds = self._to_beat(choices)
        is_plain = not (plan.join or plan.prefill or plan.encode or plan.park or plan.resume)
        if not plain_seconds or not is_plain:
            return plan
        if is_first and all(choice.planned == choice.generated + 1 for choice in choices):
            drafted = self._drafted(plan, choices, plain_seconds)
            if drafted is not None:
                return drafted
        if self._following is None or len(choices) > 1 or not _may_draft(choices[0]):
            return plan
        reads = self._following.read_on(choices[0], plain_seconds)
        return replace(plan, guess=reads) if reads else plan

    def observe(self, plan: StepPlan, result: StepResult, choices: Choices) -> bool:
        """Learn from a step that came back; True if others cannot learn from it what plain steps take.

        Args:
            plan: the step.
            result: what came.
            choices: the rows that decode; none where there is other work.
        """
        lands_alone, self._lands_alone = self._lands_alone, False
        if self._flown and plan.drafted_tokens:
            self._land(self._flown, result, choices)
            return True
        # Behind drafts a step is launched with nothing before it, and rows stand apart for a while.
        is_like_others = self._undrafted_steps >= STEPS_APART
        self._undrafted_steps += 1
        rows = len(plan.decode)
        if plan.guess is not None and self._following:
            self._following.payoff.lose(max(0.0, result.seconds - self._plain_seconds.get(rows, 0.0)))
            self._pass_plain(choices)
            return True
        if rows and not (plan.join or plan.prefill or result.encoded):
            # While a step flies the next one is launched, unless that one has to wait.
            if not lands_alone or rows not in self._plain_seconds:
                self._plain_seconds[rows] = learned(self._plain_seconds.get(rows), result.seconds)
            self._pass_plain(choices)
            return not is_like_others
        return False

    def _pass_plain(self, choices: Choices) -> None:
        self._plain_due = max(0, self._plain_due - 1)
        self._costs.pass_plain()
        _rest(choices)
        if self._following:
            self._following.pass_plain()

    def _land(self, flown: _Flown, result: StepResult, choices: Choices) -> None:
        self._flown, self._undrafted_steps = None, 0
        said = Counter(sampled.sequence for sampled in result.sampled)
        rows, plain_seconds = flown.rows, self._plain_seconds[flown.rows]
        drafted_tokens, costs = sum(due.length for due in flown.drafts), flown.drafts[0].payoff.costs
        costs.learn(result.seconds, plain_seconds, drafted_tokens, rows)
        # All rows wait for what a step takes longer, which is due to each draft by its length.
        more_seconds = (costs.expect(plain_seconds, drafted_tokens, rows) - plain_seconds) * rows
        for due in flown.drafts:
            came = said[due.choice.sequence]
            due.choice.planned -= due.length + 1 - came
            lost_seconds = more_seconds * due.length / drafted_tokens - (came - 1) * plain_seconds
            due.payoff.land(due.length, came, lost_seconds, plain_seconds)
            self._count(due, came)
        drafted = {due.choice.sequence for due in flown.drafts}
        _rest([choice for choice in choices if choice.sequence not in drafted])
        self._in_a_row += 1
        if self._in_a_row >= _DRAFTS_IN_A_ROW:
            self._in_a_row, self._plain_due = 0, _PLAIN_IN_A_ROW

    def _count(self, due: _Due, said: int) -> None:
        if self._following and due.payoff is self._following.payoff:
            self._following.land(due.choice, due.length, said)
            self.guessed = (self.guessed[0] + due.length, self.guessed[1] + said - 1)
        else:
            self.looked_up = (self.looked_up[0] + due.length, self.looked_up[1] + said - 1)

    def _to_beat(self, choices: Choices) -> float:
        """The seconds of a plain step, which drafts have to beat; 0 where rows may be given none."""
        if not (self._is_possible and choices) or self._plain_due:
            return 0.0
        if len(choices) > 1 and not self._is_shared:
            return 0.0
        return self._plain_seconds.get(len(choices), 0.0)

    def _drafted(self, plan: StepPlan, choices: Choices, plain_seconds: float) -> StepPlan | None:
        """The step with drafts; None where a plain step is better."""
        if dues := self._looked_up(choices, plain_seconds):
            drafts = tuple(Draft(choice.sequence, trail.expected(length)) for choice, trail, length in dues)
            flown = [_Due(choice, length, trail.payoff) for choice, trail, length in dues]
            return self._fly(replace(plan, drafts=drafts), _Flown(flown, len(choices)))
        if self._following and (length := self._guess_length(choices, plain_seconds)):
            guess = self._following.guess(choices[0], length)
            flown = [_Due(choices[0], length, self._following.payoff)]
            return self._fly(replace(plan, guess=guess), _Flown(flown, 1))
        return None

    def _fly(self, plan: StepPlan, flown: _Flown) -> StepPlan:
        self._flown = flown
        for due in flown.drafts:
            due.choice.planned += due.length
        return plan

    def _looked_up(self, choices: Choices, plain_seconds: float) -> list[tuple[Choice, Trail, int]]:
        """Which rows should have a draft that is looked up, and how long each should be."""
        found: list[tuple[Choice, Trail, int]] = []
        for choice in filter(_may_draft, choices):
            trail = choice.trail = choice.trail or Trail(choice.job.tokens, self._costs)
            trail.follow(choice.said)
            if most := trail.available(choice.job.max_tokens - choice.generated - 1):
                found.append((choice, trail, most))
        if not found:
            return []
        bet = best_bet(
            [(trail.payoff, most) for _, trail, most in found],
            len(choices),
            plain_seconds,
            # Rows that stand apart make the steps that follow dearer, which nobody bets on.
            least_gain=1.0 if len(choices) == 1 else LEAST_GAIN,
            most_drafted=self._chunk_cap(choices),
        )
        lengths = bet.lengths or (0,) * len(found)
        return [
            (choice, trail, length)
            for (choice, trail, _), length in zip(found, lengths, strict=True)
            if length
        ]

    def _guess_length(self, choices: Choices, plain_seconds: float) -> int:
        """How much the draft model should say of the only row."""
        if self._following is None or len(choices) > 1 or not _may_draft(choices[0]):
            return 0
        return self._following.length(choices[0], plain_seconds)


def _may_draft(choice: Choice) -> bool:
    """Whether a row can be given drafts: penalties and grammars would have to be taken back with them."""
    sampling = choice.sampling
    is_plain = not (sampling.needs_history or sampling.top_logprobs is not None or choice.job.grammar)
    return is_plain and choice.phase is Phase.DECODING and choice.generated > 0


def _rest(choices: Choices) -> None:
    """Each of these rows said a token without a draft."""
    for choice in choices:
        if choice.trail:
            choice.trail.payoff.pass_plain()
