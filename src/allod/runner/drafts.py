"""A step that reads a draft behind a row's last token, and keeps what the row would have said."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from allod.core.drafts import Draft
from allod.core.step import Sampled, StepResult

Settle = Callable[[int, mx.array], None]
"""Takes how many tokens of the draft stay, and the one that is read next: (1,)."""


@dataclass(slots=True)
class DraftFlight:
    """A draft on its way. What its row has read is settled when it is collected.

    Attributes:
        draft: what was read behind the last token.
        chosen: (k + 1,) what the row says behind each of these tokens.
        settle: told what stays.
        launch_seconds: what launching took.
    """

    draft: Draft
    chosen: mx.array
    settle: Settle
    launch_seconds: float

    def collect(self) -> StepResult:
        """Wait for the tokens; those up to the first that is not as drafted are the row's."""
        started = time.perf_counter()
        tokens = cast("list[int]", self.chosen.tolist())
        seconds = self.launch_seconds + time.perf_counter() - started
        drafted = self.draft.tokens
        accepted = next(
            (place for place, token in enumerate(drafted) if token != tokens[place]), len(drafted)
        )
        self.settle(accepted, self.chosen[accepted : accepted + 1])
        said = tokens[: accepted + 1]
        return StepResult(tuple(Sampled(self.draft.sequence, token) for token in said), seconds)
