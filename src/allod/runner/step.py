"""One step on MLX: launch builds the graph and returns, collect waits for its tokens."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import cast

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from allod.core.ids import SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, MemoryReading, ModelFacts, Prefill, Sampled, StepPlan, StepResult
from allod.runner import caches
from allod.runner.caches import RowState
from allod.runner.masks import Follower, Masks, allowed
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
            sequence: Sampled(sequence, token, score, cut=row.follower is not None and row.follower.is_lost)
            for sequence, token, score, row in zip(self.sequences, tokens, scores, self.rows, strict=True)
        }
        return tuple(sampled[sequence] for sequence in self.wanted)


@dataclass(slots=True)
class _Batch:
    """Rows that decode, or rest. `last` is (B,) on the device: it may still be on its way."""

    sampler: Sampler
    sequences: list[SequenceId] = field(default_factory=list[SequenceId])
    state: RowState = field(default_factory=RowState)
    last: mx.array | None = None

    def append(self, other: _Batch) -> None:
        """Take in the rows of another batch, which is of no use afterwards."""
        if not self.sequences:
            self.sampler, self.sequences = other.sampler, other.sequences
            self.state, self.last = other.state, other.last
            return
        if not other.sequences:
            return
        assert self.last is not None
        assert other.last is not None
        self.state = self._batched()
        caches.extend(self.state, other._batched())
        self.last = mx.concatenate([self.last, other.last])
        self.sequences += other.sequences
        self.sampler.add(other.sampler.rows)

    def drop(self, gone: Collection[SequenceId]) -> None:
        """Forget rows."""
        rows = [row for row, sequence in enumerate(self.sequences) if sequence not in gone]
        if len(rows) == len(self.sequences):
            return
        if not rows:
            self.state, self.last = RowState(), None
        elif len(rows) == 1:
            self.state = caches.take(self.state, rows[0])
        else:
            caches.keep(self.state, rows)
        self.sequences = [self.sequences[row] for row in rows]
        self.sampler.keep(rows)
        if self.last is not None:
            self.last = self.last[mx.array(rows)]

    def split(self, wanted: Collection[SequenceId]) -> _Batch:
        """Move rows out into a batch of their own; when that is all of them, nothing is copied."""
        taken = _Batch(Sampler(self.sampler.vocabulary))
        if set(self.sequences) <= set(wanted):
            taken.append(self)
            self.sampler, self.sequences = Sampler(taken.sampler.vocabulary), []
            self.state, self.last = RowState(), None
            return taken
        for row, sequence in enumerate(self.sequences):
            if sequence in wanted:
                taken.append(self._row(row))
        self.drop(wanted)
        return taken

    def _row(self, row: int) -> _Batch:
        assert self.last is not None
        sampler = Sampler(self.sampler.vocabulary, [self.sampler.rows[row]])
        state = caches.take(self.state, row)
        return _Batch(sampler, [self.sequences[row]], state, self.last[row : row + 1])

    def _batched(self) -> RowState:
        return caches.merge([self.state]) if len(self.sequences) == 1 else self.state


class MlxRunner:
    """A loaded model, the states of prompts on their way in, and the batch that decodes.

    Args:
        model: mlx-lm's module.
        facts: what was measured on it.
        masks: makes masks from grammars; None where no row will have one.
    """

    def __init__(self, model: nn.Module, facts: ModelFacts, masks: Masks | None = None) -> None:
        self._model = model
        self._masks = masks
        self._facts = facts
        self._prefilled: dict[SequenceId, RowState] = {}
        self._batch = _Batch(Sampler(facts.vocabulary))
        self._parked = _Batch(Sampler(facts.vocabulary))
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
        if plan.park:
            self._parked.append(self._batch.split(plan.park))
        if plan.resume:
            self._batch.append(self._parked.split(plan.resume))
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
        for sequence in sequences:
            self._prefilled.pop(sequence, None)
        self._batch.drop(sequences)
        self._parked.drop(sequences)

    def _join(self, join: Join) -> None:
        state = self._prefilled.pop(join.state, None) or make_prompt_cache(self._model)
        copies = len(join.sequences)
        rows = [self._start(sampling, join) for _, sampling in join.sequences]
        arrivals = _Batch(
            Sampler(self._facts.vocabulary, rows),
            [sequence for sequence, _ in join.sequences],
            state if copies == 1 else caches.merge([state] * copies),
            mx.array([join.last_token] * copies, dtype=mx.int32),
        )
        self._batch.append(arrivals)

    def _start(self, sampling: Sampling, join: Join) -> SamplerRow:
        row = SamplerRow.start(sampling, join.prompt, self._facts.vocabulary)
        row.replay(join.said)
        if join.grammar:
            row.follower = self._follow(join)
        return row

    def _follow(self, join: Join) -> Follower:
        if self._masks is None:
            raise RuntimeError("a grammar came to a runner without masks")
        return self._masks.follow(join.grammar, join.stop_tokens, join.said)

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
        logits = self._model(batch.last[:, None], cache=batch.state)[:, -1, :]
        followers = [row.follower for row in batch.sampler.rows]
        if any(followers):
            # The device works on this step while the host reads the tokens of the last one.
            mx.async_eval(logits)
        permit = allowed(followers, batch.last, self._facts.vocabulary)
        choice = batch.sampler.choose(logits, permit)
        batch.last = choice.tokens
        mx.async_eval(choice.arrays)
        return choice
