"""Steps of a FakeRunner on their way."""

import time
from dataclasses import dataclass, field

from allod.core.step import StepResult
from allod.testing.contract import require


@dataclass(slots=True)
class Landing:
    """Which flights were collected; shared by a runner and its flights."""

    launched: int = 0
    collected: int = 0


@dataclass(slots=True)
class FakeFlight:
    """A step, whose result is known already."""

    number: int
    result: StepResult
    landing: Landing
    sleep_seconds: float = 0.0
    is_collected: bool = field(default=False, init=False)

    def collect(self) -> StepResult:
        """Return the result, once, and in the order of the launches."""
        require(not self.is_collected, f"flight {self.number} is collected twice")
        require(self.number == self.landing.collected + 1, f"flight {self.number} is collected out of turn")
        if self.sleep_seconds:
            time.sleep(self.sleep_seconds)
        self.is_collected = True
        self.landing.collected = self.number
        return self.result
