"""One step on MLX: launch builds the graph and returns, collect waits for its tokens."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import assert_never

import mlx.core as mx

from allod.core.blocks import Load, Store
from allod.core.ids import SequenceId, TokenId
from allod.core.pictures import Digest, Tensor
from allod.core.ports import Archive, Flight
from allod.core.sampling import Sampling
from allod.core.step import (
    Discard,
    Join,
    Keep,
    MemoryReading,
    ModelFacts,
    PrefixStep,
    Restore,
    Split,
    StepPlan,
)
from allod.runner import caches, mixed, together
from allod.runner.batch import Batch, Group
from allod.runner.drafting import Drafter
from allod.runner.drafts import read_draft, read_drafts
from allod.runner.flight import MlxFlight
from allod.runner.gallery import Gallery
from allod.runner.masks import Follower, Masks
from allod.runner.network import Following, Network, Reading, Source
from allod.runner.prefixes import PrefixShelf
from allod.runner.sampling import Choice, Sampler, SamplerRow
from allod.runner.together import Part

_NOWHERE: Mapping[SequenceId, Source] = {}
_NOTHING: Mapping[SequenceId, Following] = {}


class MlxRunner:
    """A loaded model, the states of prompts on their way in, and the batch that decodes.

    Args:
        network: the model.
        facts: what was measured on it.
        masks: makes masks from grammars; None where no row will have one.
        archive: where blocks of what was read are stored; None where there is none.
        drafter: the draft model beside it; None where there is none.
    """

    def __init__(
        self,
        network: Network,
        facts: ModelFacts,
        masks: Masks | None = None,
        archive: Archive | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        self.archive = archive
        self._drafter = drafter
        self._network = network
        self._gallery = Gallery(network)
        self._shelf = PrefixShelf(network, archive)
        self._masks = masks
        self._facts = facts
        self._readings: dict[SequenceId, Reading] = {}
        self._batch = Batch(Sampler(facts.vocabulary))
        self._parked = Batch(Sampler(facts.vocabulary))
        self._nobody = Batch(Sampler(facts.vocabulary))

    @property
    def facts(self) -> ModelFacts:
        """What was measured on the model."""
        return self._facts

    def memory(self) -> MemoryReading:
        """MLX's counters."""
        return MemoryReading(mx.get_active_memory(), mx.get_cache_memory(), mx.get_peak_memory())

    def receive(self, digest: Digest, tensors: Sequence[Tensor]) -> None:
        """Take what the vision tower reads of a picture, to hold until it is seen or forgotten."""
        self._gallery.receive(digest, tensors)

    def launch(self, plan: StepPlan) -> Flight:
        """Start a step.

        The prompt's chunk goes to the device before the decode step, or in one pass with it, so that the time
        until the tokens arrive is the time of both and the scheduler can tell what it costs. A picture is
        looked at first, for as long as the plan says.
        """
        started = time.perf_counter()
        worked = self._obey(plan.keep)
        self._release(plan.release)
        self._gallery.forget(plan.forget)
        if plan.park:
            self._parked.append(self._batch.split(plan.park))
        if plan.resume:
            self._batch.append(self._parked.split(plan.resume))
        worked += self._obey(plan.restore)
        if self._drafter is not None:
            worked += self._drafter.follow(plan)
        if plan.drafted_tokens and len(plan.decode) > 1:
            return read_drafts(plan, self._batch, self._network, started)
        if plan.drafted_tokens:
            return read_draft(plan, self._batch, self._network, self._places(), self._drafter, started)
        self._batch.settle()
        scored, decoded = self._prefill(plan, worked)
        sources = {
            step.source: self._source(step.source) for step in plan.keep_read if isinstance(step, Keep)
        }
        # A first token need not wait for copies. A state that becomes several rows, or one of several, is let
        # go as they take it in.
        arriving = sum(len(join.sequences) for join in plan.join)
        says_first = arriving == 1 and sources.keys() <= scored.keys()
        following = self._following(plan.join, scored)
        if not says_first:
            worked += self._obey(plan.keep_read, sources, following)
        encoded = self._gallery.look(plan.encode) if plan.encode else None
        choice = self._decode(plan.join, scored, decoded) if plan.decode else None
        if says_first:
            worked += self._obey(plan.keep_read, sources, following)
        return MlxFlight(
            wanted=plan.decode,
            sequences=tuple(self._batch.sequences) if choice else (),
            rows=tuple(self._batch.sampler.rows),
            choice=choice,
            worked=worked,
            launch_seconds=time.perf_counter() - started,
            encoded=encoded,
        )

    def _obey(
        self,
        steps: Sequence[PrefixStep],
        sources: Mapping[SequenceId, Source] = _NOWHERE,
        following: Mapping[SequenceId, Following] = _NOTHING,
    ) -> list[object]:
        """Do what is to be done about segments; returns what is on its way.

        Args:
            steps: what.
            sources: where states are that are kept; others are looked for.
            following: what follows the prompts of some of them.
        """
        worked: list[object] = []
        for step in steps:
            match step:
                case Keep():
                    source = sources.get(step.source) or self._source(step.source)
                    worked += self._shelf.keep(step, source, following.get(step.source))
                case Split():
                    worked += self._shelf.split(step)
                case Discard():
                    self._shelf.discard(step)
                case Store():
                    self._shelf.store(step)
                case Load():
                    worked += self._shelf.load(step)
                case Restore():
                    self._readings[step.state] = self._shelf.restore(step)
                case _:
                    assert_never(step)
        return worked

    def _source(self, sequence: SequenceId) -> Source:
        reading = self._readings.get(sequence)
        if reading is not None:
            return Source(reading.state, reading.extent)
        batch = self._batch if sequence in self._batch.sequences else self._parked
        return batch.source(sequence)

    def _release(self, sequences: tuple[SequenceId, ...]) -> None:
        for sequence in sequences:
            self._readings.pop(sequence, None)
        self._batch.drop(sequences)
        self._parked.drop(sequences)

    def _join(self, joins: Sequence[Join], ahead: int = 0) -> None:
        """Let prompts become rows, all at once: to take in any number, the batch is copied once.

        Args:
            joins: which.
            ahead: how many tokens they have read of those that rows read in this step.
        """
        arriving: defaultdict[int, list[Join]] = defaultdict(list)
        for join in joins:
            if join.state not in self._readings:
                self._readings[join.state] = Reading(self._network.make_state())
            length = self._readings[join.state].extent.length + 1 - ahead
            arriving[self._facts.group_of(length)].append(join)
        for place, group in sorted(arriving.items()):
            self._batch.append(self._arrivals(place, group, ahead))

    def _arrivals(self, place: int, joins: Sequence[Join], ahead: int) -> Batch:
        """The rows of prompts of one group."""
        rows: list[SamplerRow] = []
        sequences: list[SequenceId] = []
        readings: list[Reading] = []
        last: list[TokenId] = []
        for join in joins:
            reading = self._readings.pop(join.state)
            for sequence, sampling in join.sequences:
                rows.append(self._start(sampling, join))
                sequences.append(sequence)
                readings.append(reading)
                last.append(join.last_token)
        states = [reading.state for reading in readings]
        state = states[0] if len(states) == 1 else caches.absorb(states)
        extents = [reading.extent.until(reading.extent.length - ahead) for reading in readings]
        last_tokens = mx.array(last, dtype=mx.int32)
        sampler = Sampler(self._facts.vocabulary, rows)
        return Batch(sampler, sequences, [Group(place, len(rows), state)], last_tokens, extents)

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

    def _prefill(
        self, plan: StepPlan, worked: list[object]
    ) -> tuple[dict[SequenceId, mx.array], mx.array | None]:
        """Read chunks; as one, where that can be, and in one pass with the rows that decode beside them.

        Where chunks can score, the last tokens of prompts that become rows in this step are read as well.

        Args:
            plan: the step.
            worked: gets what is on its way.

        Returns:
            (1, V) scores of what follows these last tokens, by state; and (B, V) of what follows those of the
            rows, where they were read, among them prompts that no chunk scores.
        """
        ends = {join.state: (join.last_token,) for join in plan.join} if self._facts.scores_chunks else {}
        parts: dict[SequenceId, Part] = {}
        for prefill in plan.prefill:
            reading = self._readings.get(prefill.state)
            if reading is None:
                reading = self._readings[prefill.state] = Reading(self._network.make_state())
            if prefill.pictures:
                self._network.read(prefill.tokens, reading, prefill.pictures, self._gallery.features)
                worked += self._send([reading])
            else:
                tokens = prefill.tokens + ends.get(prefill.state, ())
                parts[prefill.state] = Part(tokens, reading, is_end=prefill.state in ends)
        decoded = None
        if self._facts.reads_beside and parts:
            decoded = self._read_at_once(plan, parts)
            worked += self._send([part.reading for part in parts.values()])
        else:
            self._read_in_groups(list(parts.values()), worked)
        return {state: part.scores for state, part in parts.items() if part.scores is not None}, decoded

    def _read_at_once(self, plan: StepPlan, parts: Mapping[SequenceId, Part]) -> mx.array | None:
        """Read chunks in one pass; (B, V) scores of the rows, if these were read in it as well.

        They are not where something else than what the chunks belong to is kept: that is copied before.
        """
        rows = self._nobody
        kept = {step.source for step in plan.keep_read if isinstance(step, Keep)}
        if plan.decode and self._batch.sequences and kept <= parts.keys():
            self._join([join for join in plan.join if join.state not in parts])
            rows = self._batch
        return mixed.read(self._network, rows, list(parts.values()), self._facts.vocabulary)

    def _read_in_groups(self, parts: Sequence[Part], worked: list[object]) -> None:
        """Read chunks in a pass for each number of tokens that came before."""
        groups = (
            together.groups(parts, pads_chunks=self._facts.pads_chunks)
            if self._facts.reads_together
            else [[part] for part in parts]
        )
        for group in groups:
            together.read(self._network, group, self._facts.vocabulary, pads_chunks=self._facts.pads_chunks)
            worked += self._send([part.reading for part in group])

    def _known(self, joins: Sequence[Join]) -> dict[SequenceId, mx.array]:
        """(1, V) scores of what follows prompts that were read before, if that is known of all that begin.

        Beside rows that decode it is of no use: the tokens of all come together.
        """
        known: dict[SequenceId, mx.array] = {}
        for join in joins:
            reading = self._readings.get(join.state)
            scores = reading.scores_after(join.last_token) if reading else None
            if scores is None or self._batch.sequences:
                return {}
            known[join.state] = scores
        return known

    def _following(
        self, joins: Sequence[Join], scored: Mapping[SequenceId, mx.array]
    ) -> dict[SequenceId, Following]:
        """What follows the prompts that join, for when they come again."""
        return {
            join.state: Following(
                self._readings[join.state].extent.length - 1, join.last_token, scored[join.state]
            )
            for join in joins
            if join.state in scored
        }

    def _send(self, readings: Sequence[Reading]) -> list[object]:
        """Let the device begin with what was read."""
        evaluated = [array for reading in readings for array in caches.arrays(reading.state)]
        mx.async_eval(evaluated)
        return evaluated

    def _places(self) -> mx.array | None:
        """(B,) positions of the rows' last tokens, where the network wants to be told."""
        if not self._network.counts_places:
            return None
        return mx.array([extent.place for extent in self._batch.extents], dtype=mx.int32)

    def _decode(
        self, joins: Sequence[Join], scored: Mapping[SequenceId, mx.array], decoded: mx.array | None
    ) -> Choice:
        """One token of every row; those whose first is scored already have read what rows read now.

        Args:
            joins: who become rows.
            scored: (1, V) scores of those among them that chunks scored.
            decoded: (B, V) scores of the rows, if these were read with the chunks.
        """
        batch = self._batch
        if known := self._known(joins):
            return self._go_on(joins, known)
        if decoded is None and (behind := [join for join in joins if join.state not in scored]):
            self._join(behind)
        logits = [] if decoded is None else [decoded]
        if decoded is None and batch.last is not None:
            logits.append(self._network.logits(batch.last[:, None], batch.state, self._places())[:, -1, :])
        ahead = [join for join in joins if join.state in scored]
        if not ahead:
            return self._choose(logits[0])
        order = [*batch.sequences, *(sequence for join in ahead for sequence, _ in join.sequences)]
        logits += [scored[join.state] for join in ahead for _ in join.sequences]
        self._join(ahead, ahead=1)
        whole = logits[0] if len(logits) == 1 else mx.concatenate(logits)
        return self._choose(self._in_order(whole, order))

    def _go_on(self, joins: Sequence[Join], known: Mapping[SequenceId, mx.array]) -> Choice:
        """First tokens of answers to prompts that are known to their ends, which wait for no pass.

        What the next ones need of the last tokens of these prompts is computed with the next step.
        """
        order = [sequence for join in joins for sequence, _ in join.sequences]
        scores = mx.concatenate([known[join.state] for join in joins for _ in join.sequences])
        self._join(joins)
        last, state, places = self._batch.last, self._batch.state, self._places()
        assert last is not None
        choice = self._choose(self._in_order(scores, order))
        self._network.logits(last[:, None], state, places)
        return choice

    def _in_order(self, scores: mx.array, order: Sequence[SequenceId]) -> mx.array:
        """Scores in the order of the batch: rows of a group stand together, wherever they came from."""
        sequences = self._batch.sequences
        return scores if order == sequences else scores[mx.array([order.index(each) for each in sequences])]

    def _choose(self, logits: mx.array) -> Choice:
        batch = self._batch
        assert batch.last is not None
        choice = batch.sampler.choose_behind(batch.last, logits)
        batch.advance(choice.tokens)
        mx.async_eval(choice.arrays)
        return choice
