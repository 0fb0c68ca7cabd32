"""A scheduler and a strict runner that speak one after the other, to watch the drafts they make."""

from dataclasses import dataclass, field

from allod.core.ids import SequenceId
from allod.core.ports import Flight
from allod.core.step import StepPlan
from allod.engine.scheduler import Scheduler
from allod.engine.settings import EngineSettings
from allod.testing.costs import FakeCosts
from allod.testing.models import submission, tiny_facts
from allod.testing.runner import FakeRunner, FakeSpeech

CHEAP = FakeCosts(decode_seconds=0.01, prefill_seconds_per_token=0.0001)


@dataclass
class House:
    """Scheduler and runner, driven as the worker drives them."""

    speech: tuple[int, ...]
    costs: FakeCosts = CHEAP
    speculation: str = "auto"
    facts: dict[str, object] = field(default_factory=dict)
    plans: list[StepPlan] = field(default_factory=list)
    said: dict[SequenceId, list[int]] = field(default_factory=dict)
    seconds: float = 0.0
    airborne: tuple[StepPlan, Flight] | None = None
    misses_every: int | None = None

    def __post_init__(self) -> None:
        facts = tiny_facts(**self.facts)
        limits = EngineSettings(speculation=self.speculation)  # pyright: ignore[reportArgumentType]
        self.scheduler = Scheduler(facts, limits)
        self.runner = FakeRunner(
            facts, speech=FakeSpeech(self.speech), costs=self.costs, misses_every=self.misses_every
        )

    @property
    def drafts(self) -> list[StepPlan]:
        return [plan for plan in self.plans if plan.drafts]

    @property
    def guesses(self) -> list[StepPlan]:
        return [plan for plan in self.plans if plan.guess and plan.guess.length]

    def turn(self) -> None:
        plan = self.scheduler.plan()
        launched = None
        if not plan.is_empty:
            self.plans.append(plan)
            launched = (plan, self.runner.launch(plan))
        assert launched or self.airborne or self.scheduler.idle
        if self.airborne is not None:
            flown, flight = self.airborne
            result = flight.collect()
            self.seconds += result.seconds
            for emission in self.scheduler.commit(flown, result, 0.0).emissions:
                self.said.setdefault(emission.sequence, []).extend(emission.tokens)
        self.airborne = launched

    def run(self, turns: int = 2000) -> None:
        for _ in range(turns):
            self.turn()
            if self.scheduler.idle and self.airborne is None:
                return
        raise AssertionError("it does not come to an end")


def told(house: House, **changes: object) -> list[int]:
    """What the row of one request says."""
    house.scheduler.submit(submission(**{"max_tokens": 200, **changes}), 0.0)
    house.run()
    return house.said[SequenceId(0)]
