"""A step of MLX on its way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from allod.core.ids import SequenceId, TokenId
from allod.core.step import Encoded, Sampled, Scores, StepResult
from allod.runner.sampling import Choice, SamplerRow, scores_of


@dataclass(slots=True)
class MlxFlight:
    """A step on its way. Rows are kept as they were, because the batch moves on.

    `wanted` is the order of the plan, `sequences` and `rows` that of the batch. `worked` is what the prompt's
    chunk comes to, and what is kept.
    """

    wanted: tuple[SequenceId, ...]
    sequences: tuple[SequenceId, ...]
    rows: tuple[SamplerRow, ...]
    choice: Choice | None
    worked: list[object]
    launch_seconds: float
    encoded: Encoded | None = None

    def collect(self) -> StepResult:
        """Wait for the tokens and read them, with one transfer per step.

        What the step took is the time to launch it and to wait for it. The next step is launched in between:
        where MLX computes while it is given work, as on the CPU, that time is the next step's.
        """
        started = time.perf_counter()
        mx.eval(self.choice.arrays if self.choice else self.worked)
        seconds = self.launch_seconds + time.perf_counter() - started
        return StepResult(self._sampled(), seconds, self.encoded)

    def _sampled(self) -> tuple[Sampled, ...]:
        if self.choice is None:
            return ()
        tokens = cast("list[int]", self.choice.tokens.tolist())
        scores = scores_of(self.choice, self.rows)
        sampled = {
            sequence: said(sequence, token, score, row)
            for sequence, token, score, row in zip(self.sequences, tokens, scores, self.rows, strict=True)
        }
        return tuple(sampled[sequence] for sequence in self.wanted)


def said(sequence: SequenceId, token: TokenId, scores: Scores | None, row: SamplerRow) -> Sampled:
    """What a row said, and whether its grammar was lost by then."""
    return Sampled(sequence, token, scores, cut=row.follower is not None and row.follower.is_lost)
