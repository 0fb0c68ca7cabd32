"""A step that reads a draft behind a row's last token, and keeps what the row would have said."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from allod.core.ids import SequenceId
from allod.core.step import Sampled, StepPlan, StepResult
from allod.runner import caches
from allod.runner.batch import Batch
from allod.runner.drafting import Drafter
from allod.runner.network import Network
from allod.runner.sampling import Sampler

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
        accepted = next(
            (place for place, token in enumerate(drafted) if token != chosen[place]), self.drafted
        )
        last = self.drafted + accepted
        self.settle(accepted, self.tokens[last : last + 1])
        said = chosen[: accepted + 1]
        return StepResult(tuple(Sampled(self.sequence, token) for token in said), seconds)


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
        drafted = mx.array(plan.draft.tokens if plan.draft else (), dtype=mx.int32)
    read = mx.concatenate([batch.last, drafted])
    logits = network.logits(read[None], batch.state, places)[0]
    (row,) = batch.sampler.rows
    ahead = Sampler(batch.sampler.vocabulary, [row.ahead(place) for place in range(count + 1)])
    tokens = mx.concatenate([drafted, ahead.choose(logits).tokens])
    mx.async_eval(tokens)

    def settle(accepted: int, last: mx.array) -> None:
        caches.trim(batch.state, count - accepted)
        batch.advance(last, accepted + 1)
        row.position += accepted + 1
        if guess is not None and drafter is not None:
            drafter.settle(guess, accepted)

    return DraftFlight(plan.decode[0], count, tokens, settle, time.perf_counter() - started)
