"""What steps of a FakeRunner take."""

from dataclasses import dataclass

from allod.core.step import Encoded, StepPlan

_SMALLER = 10
"""A draft model reads so many times as fast."""


@dataclass(frozen=True, slots=True)
class FakeCosts:
    """What a step takes, in simulated seconds, as `StepResult.seconds` tells it."""

    decode_seconds: float = 0.01
    prefill_seconds_per_token: float = 0.0005
    piece_seconds: float = 0.02
    guess_seconds_per_token: float = 0.001

    def seconds(self, plan: StepPlan, encoded: Encoded | None) -> float:
        """Of one step."""
        decode_seconds = self.decode_seconds if plan.decode else 0.0
        looking_seconds = encoded.pieces_done * self.piece_seconds if encoded else 0.0
        read_tokens = plan.drafted_tokens + sum(len(prefill.tokens) for prefill in plan.prefill)
        seconds = decode_seconds + looking_seconds + read_tokens * self.prefill_seconds_per_token
        if plan.guess is None:
            return seconds
        reading_seconds = len(plan.guess.tokens) / _SMALLER * self.prefill_seconds_per_token
        return seconds + reading_seconds + plan.guess.length * self.guess_seconds_per_token
