"""A step that reads drafts behind rows' last tokens, and keeps what the rows would have said.

A row that is alone reads its draft as a chunk. Among others, tokens of drafts stand as rows of one token, as
those of prompts do beside rows (`mixed`): each row reads as many as it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from allod.core.ids import SequenceId, TokenId
from allod.core.step import Sampled, StepPlan, StepResult
from allod.runner import caches, grouped
from allod.runner.batch import Batch
from allod.runner.drafting import Drafter
from allod.runner.flight import said
from allod.runner.grouped import Span
from allod.runner.network import Network
from allod.runner.sampling import Choice, Sampler, SamplerRow, scores_of

Settle = Callable[[int, mx.array], None]
"""Takes how many tokens of the draft stay, and the one that is read next: (1,)."""


@dataclass(slots=True)
class DraftFlight:
    """A draft on its way. What its row has read is settled when it is collected.

    Attributes:
        sequence: the row.
        drafted: k, how many tokens were read behind the last one.
        tokens: (2 k + 1,) these, and what the row says behind the last token and each of them.
        settle: told what stays.
        launch_seconds: what launching took.
    """

    sequence: SequenceId
    drafted: int
    tokens: mx.array
    settle: Settle
    launch_seconds: float

    def collect(self) -> StepResult:
        """Wait for the tokens; those up to the first that is not as drafted are the row's."""
        started = time.perf_counter()
        tokens = cast("list[int]", self.tokens.tolist())
        seconds = self.launch_seconds + time.perf_counter() - started
        drafted, chosen = tokens[: self.drafted], tokens[self.drafted :]
        accepted = _agreeing(drafted, chosen)
        last = self.drafted + accepted
        self.settle(accepted, self.tokens[last : last + 1])
        told = chosen[: accepted + 1]
        return StepResult(tuple(Sampled(self.sequence, token) for token in told), seconds)


@dataclass(slots=True)
class DraftsFlight:
    """Drafts of rows that decode together, on their way. What they have read is settled when it is collected.

    Attributes:
        wanted: the rows in the order of the plan.
        batch: they, as no other step changes them before.
        drafted: of each row in the order of the batch, what it reads behind its last token.
        rows: N, how each token that is read is followed.
        choice: of these N.
        launch_seconds: what launching took.
    """

    wanted: Sequence[SequenceId]
    batch: Batch
    drafted: Sequence[Sequence[TokenId]]
    rows: Sequence[SamplerRow]
    choice: Choice
    launch_seconds: float

    def collect(self) -> StepResult:
        """Wait for the tokens; those of each row up to the first that is not as drafted are the row's."""
        started = time.perf_counter()
        chosen = cast("list[int]", self.choice.tokens.tolist())
        seconds = self.launch_seconds + time.perf_counter() - started
        scores = scores_of(self.choice, self.rows)
        sampled: dict[SequenceId, list[Sampled]] = {}
        accepted: list[int] = []
        start = 0
        for sequence, drafted in zip(self.batch.sequences, self.drafted, strict=True):
            accepted.append(_agreeing(drafted, chosen[start:]))
            places = range(start, start + accepted[-1] + 1)
            sampled[sequence] = [
                said(sequence, chosen[place], scores[place], self.rows[place]) for place in places
            ]
            start += len(drafted) + 1
        self._settle(accepted, [sampled[sequence][-1].token for sequence in self.batch.sequences])
        return StepResult(tuple(each for sequence in self.wanted for each in sampled[sequence]), seconds)

    def _settle(self, accepted: Sequence[int], last: Sequence[TokenId]) -> None:
        for group, row in zip(self.batch.groups, self.batch.starts, strict=True):
            if drafted := self.drafted[row]:
                caches.trim(group.state, len(drafted) - accepted[row])
                # The others' places were counted when their tokens were chosen.
                self.batch.sampler.rows[row].position += accepted[row] + 1
        self.batch.advance(mx.array(last, dtype=mx.int32), [count + 1 for count in accepted])


def _agreeing(drafted: Sequence[TokenId], chosen: Sequence[TokenId]) -> int:
    """How many tokens of a draft are what was chosen in their places."""
    return next((place for place, token in enumerate(drafted) if token != chosen[place]), len(drafted))


def read_draft(
    plan: StepPlan,
    batch: Batch,
    network: Network,
    places: mx.array | None,
    drafter: Drafter | None,
    started: float,
) -> DraftFlight:
    """Launch a step with a draft or a guess.

    Args:
        plan: the step.
        batch: its only row.
        network: the model.
        places: the position of the row's last token, where the network wants to be told.
        drafter: makes the guess.
        started: when launching began.
    """
    assert batch.last is not None
    count, guess = plan.drafted_tokens, plan.guess
    if guess is not None:
        assert drafter is not None
        drafted = drafter.guess(guess, batch)
    else:
        drafted = mx.array(plan.drafts[0].tokens, dtype=mx.int32)
    read = mx.concatenate([batch.last, drafted])
    logits = network.logits(read[None], batch.state, places)[0]
    (row,) = batch.sampler.rows
    ahead = Sampler(batch.sampler.vocabulary, [row.ahead(place) for place in range(count + 1)])
    tokens = mx.concatenate([drafted, ahead.choose(logits).tokens])
    mx.async_eval(tokens)

    def settle(accepted: int, last: mx.array) -> None:
        caches.trim(batch.state, count - accepted)
        batch.advance(last, [accepted + 1])
        row.position += accepted + 1
        if guess is not None and drafter is not None:
            drafter.settle(guess, accepted)

    return DraftFlight(plan.decode[0], count, tokens, settle, time.perf_counter() - started)


def read_drafts(plan: StepPlan, batch: Batch, network: Network, started: float) -> DraftsFlight:
    """Launch a step with drafts of some of several rows; the others read their last tokens.

    Args:
        plan: the step.
        batch: the rows; those that read drafts are set apart.
        network: the model, which takes groups.
        started: when launching began.
    """
    drafts = {draft.sequence: draft.tokens for draft in plan.drafts}
    batch.set_apart(drafts)
    assert batch.last is not None
    last = cast("list[int]", batch.last.tolist())
    drafted = [drafts.get(sequence, ()) for sequence in batch.sequences]
    tokens: list[TokenId] = []
    positions: list[int] = []
    rows: list[SamplerRow] = []
    for token, own, extent, row in zip(last, drafted, batch.extents, batch.sampler.rows, strict=True):
        tokens += (token, *own)
        positions += range(extent.length, extent.length + len(own) + 1)
        rows += [row.ahead(place) for place in range(len(own) + 1)] if own else [row]
    groups = zip(batch.groups, batch.starts, strict=True)
    spans = [Span(group.rows, len(drafted[row]) + 1) for group, row in groups]
    state = grouped.gather([group.state for group in batch.groups], spans, positions)
    read = mx.array(tokens, dtype=mx.int32)
    logits = network.logits(read[:, None], state)[:, -1]
    choice = Sampler(batch.sampler.vocabulary, rows).choose_behind(read, logits)
    mx.async_eval(choice.arrays)
    return DraftsFlight(plan.decode, batch, drafted, rows, choice, time.perf_counter() - started)
