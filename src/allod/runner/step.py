"""One step on MLX: launch builds the graph and returns, collect waits for its tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import cast

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from allod.core.ids import SequenceId
from allod.core.step import Join, MemoryReading, ModelFacts, Prefill, Sampled, StepPlan, StepResult
from allod.runner import caches
from allod.runner.caches import RowState
from allod.runner.sampling import Choice, Sampler, SamplerRow, scores_of
from mlx import nn


@dataclass(slots=True)
class _Clock:
    """When the device was last known to have finished a step."""

    idle_since_seconds: float = 0.0


@dataclass(slots=True)
class MlxFlight:
    """A step on its way. Rows are kept as they were, because the batch moves on.

    `wanted` is the order of the plan, `sequences` and `rows` that of the batch.
    """

    wanted: tuple[SequenceId, ...]
    sequences: tuple[SequenceId, ...]
    rows: tuple[SamplerRow, ...]
    choice: Choice | None
    prefilled: list[object]
    launched_seconds: float
    clock: _Clock

    def collect(self) -> StepResult:
        """Wait for the tokens and read them, with one transfer per step."""
        mx.eval(self.choice.arrays if self.choice else self.prefilled)
        now = time.perf_counter()
        seconds = now - max(self.launched_seconds, self.clock.idle_since_seconds)
        self.clock.idle_since_seconds = now
        return StepResult(self._sampled(), seconds)

    def _sampled(self) -> tuple[Sampled, ...]:
        if self.choice is None:
            return ()
        tokens = cast("list[int]", self.choice.tokens.tolist())
        scores = scores_of(self.choice, self.rows)
        sampled = {
            sequence: Sampled(sequence, token, score)
            for sequence, token, score in zip(self.sequences, tokens, scores, strict=True)
        }
        return tuple(sampled[sequence] for sequence in self.wanted)


@dataclass(slots=True)
class _Batch:
    """The rows that decode. `last` is (B,) on the device: it may still be on its way."""

    sampler: Sampler
    sequences: list[SequenceId] = field(default_factory=list[SequenceId])
    state: RowState = field(default_factory=RowState)
    last: mx.array | None = None


class MlxRunner:
    """A loaded model, the states of prompts on their way in, and the batch that decodes."""

    def __init__(self, model: nn.Module, facts: ModelFacts) -> None:
        self._model = model
        self._facts = facts
        self._prefilled: dict[SequenceId, RowState] = {}
        self._batch = _Batch(Sampler(facts.vocabulary))
        self._clock = _Clock()

    @property
    def facts(self) -> ModelFacts:
        """What was measured on the model."""
        return self._facts

    def memory(self) -> MemoryReading:
        """MLX's counters."""
        return MemoryReading(mx.get_active_memory(), mx.get_cache_memory(), mx.get_peak_memory())

    def launch(self, plan: StepPlan) -> MlxFlight:
        """Start a step.

        The prompt's chunk goes to the device before the decode step, so that the time until the
        tokens arrive is the time of both and the scheduler can tell what a chunk costs.
        """
        launched_seconds = time.perf_counter()
        self._release(plan.release)
        for join in plan.join:
            self._join(join)
        prefilled = self._prefill(plan.prefill) if plan.prefill else []
        choice = self._decode() if plan.decode else None
        return MlxFlight(
            wanted=plan.decode,
            sequences=tuple(self._batch.sequences) if choice else (),
            rows=tuple(self._batch.sampler.rows),
            choice=choice,
            prefilled=prefilled,
            launched_seconds=launched_seconds,
            clock=self._clock,
        )

    def _release(self, sequences: tuple[SequenceId, ...]) -> None:
        batch = self._batch
        gone = set(sequences)
        for sequence in sequences:
            self._prefilled.pop(sequence, None)
        rows = [row for row, sequence in enumerate(batch.sequences) if sequence not in gone]
        if len(rows) == len(batch.sequences):
            return
        if not rows:
            self._batch = _Batch(Sampler(self._facts.vocabulary))
            return
        if len(rows) == 1:
            batch.state = caches.take(batch.state, rows[0])
        else:
            caches.keep(batch.state, rows)
        batch.sequences = [batch.sequences[row] for row in rows]
        batch.sampler.keep(rows)
        if batch.last is not None:
            batch.last = batch.last[mx.array(rows)]

    def _join(self, join: Join) -> None:
        batch = self._batch
        state = self._prefilled.pop(join.state, None) or make_prompt_cache(self._model)
        copies = len(join.sequences)
        if not batch.sequences and copies == 1:
            batch.state = state
        else:
            arrivals = caches.merge([state] * copies)
            if len(batch.sequences) == 1:
                batch.state = caches.merge([batch.state])
            if batch.sequences:
                caches.extend(batch.state, arrivals)
            else:
                batch.state = arrivals
        last = mx.array([join.last_token] * copies, dtype=mx.int32)
        batch.last = last if batch.last is None else mx.concatenate([batch.last, last])
        batch.sequences.extend(sequence for sequence, _ in join.sequences)
        batch.sampler.add(
            [
                SamplerRow.start(sampling, join.prompt, self._facts.vocabulary)
                for _, sampling in join.sequences
            ]
        )

    def _prefill(self, prefill: Prefill) -> list[object]:
        state = self._prefilled.setdefault(prefill.state, [])
        if not state:
            state.extend(make_prompt_cache(self._model))
        self._model(mx.array([prefill.tokens]), cache=state)
        evaluated = caches.arrays(state)
        mx.async_eval(evaluated)
        return evaluated

    def _decode(self) -> Choice:
        batch = self._batch
        assert batch.last is not None
        logits = self._model(batch.last[:, None], cache=batch.state)
        choice = batch.sampler.choose(logits[:, -1, :])
        batch.last = choice.tokens
        mx.async_eval(choice.arrays)
        return choice
