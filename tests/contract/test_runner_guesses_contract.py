"""What every Runner with a draft model keeps: whoever guesses, and however badly, rows say the same."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import pytest
from tests.contract.test_runner_contract import (
    BUDGET_BYTES,
    GREEDY,
    LONG,
    SEEDED,
    SHORT,
    Factory,
    ids,
    join,
    measured_model,
    prefill,
    said,
    steps,
)
from tests.scaffolding.families import DEVICE, VOCABULARY, write_random_model
from tests.scaffolding.memory import held_bytes
from tests.scaffolding.timings import UNMEASURED

from allod.core.drafts import Guess
from allod.core.ids import SegmentId, SequenceId, TokenId
from allod.core.ports import Runner
from allod.core.sampling import Sampling
from allod.core.step import Keep, Restore, StepPlan
from allod.device.choose import choose
from allod.runner.drafting import Drafter
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner
from allod.testing.models import TINY_DRAFT, tiny_facts
from allod.testing.runner import FakeRunner

ANSWER = 24
TURNS = 8
"""So many guesses one behind the other, where each brings a single token."""

BIASED = Sampling(temperature=1.0, seed=3, logit_bias=((5, 4.0),))


@cache
def draft_model(family: str, *, few_shapes: bool, vocab_size: int) -> tuple[LoadedModel, int]:
    """A small random model and its vocabulary; with the one that models here have, a model of theirs."""
    if vocab_size == VOCABULARY:
        loaded, facts = measured_model(family, few_shapes=few_shapes)
        return loaded, facts.vocabulary
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(family, Path(folder) / family, changes={"vocab_size": vocab_size})
        return load(
            Path(folder) / family, RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED
        ), vocab_size


def mlx_pair(family: str, drafts: str, *, few_shapes: bool = False, vocab_size: int = VOCABULARY) -> Runner:
    loaded, facts = measured_model(family, few_shapes=few_shapes)
    draft, vocabulary = draft_model(drafts, few_shapes=few_shapes, vocab_size=vocab_size)
    return MlxRunner(loaded.network, facts, drafter=Drafter(draft.network, vocabulary))


@dataclass(frozen=True)
class Pair:
    """A model with a draft model, and how much of its guesses is right."""

    make: Factory
    is_right: bool | None = None


PAIRS: dict[str, Pair] = {
    "fake, always right": Pair(lambda: FakeRunner(tiny_facts(draft=TINY_DRAFT)), is_right=True),
    "fake, always wrong": Pair(
        lambda: FakeRunner(tiny_facts(draft=TINY_DRAFT), misses_every=1), is_right=False
    ),
    "fake, sometimes right": Pair(lambda: FakeRunner(tiny_facts(draft=TINY_DRAFT), misses_every=4)),
    "mlx, the model itself": Pair(partial(mlx_pair, "llama", "llama"), is_right=True),
    "mlx, the model itself, few shapes": Pair(
        partial(mlx_pair, "llama", "llama", few_shapes=True), is_right=True
    ),
    "mlx, another family": Pair(partial(mlx_pair, "llama", "qwen3")),
    "mlx, another family, few shapes": Pair(partial(mlx_pair, "llama", "qwen3", few_shapes=True)),
    "mlx, fewer tokens": Pair(partial(mlx_pair, "llama", "llama", vocab_size=90)),
    "mlx, more tokens": Pair(partial(mlx_pair, "llama", "llama", vocab_size=352)),
}


@pytest.fixture(params=PAIRS.values(), ids=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> Pair:
    return request.param


@dataclass
class Speaker:
    """A row and its draft model, with the arithmetic of what that has read."""

    runner: Runner
    sequence: int
    prompt: Sequence[TokenId]
    tokens: list[TokenId]
    read: int = 0
    accepted: list[int] = field(default_factory=list)

    @property
    def known(self) -> tuple[TokenId, ...]:
        return (*self.prompt, *self.tokens)

    def plan(self, count: int, length: int) -> StepPlan:
        """A step in which it reads so many tokens, and guesses."""
        tokens = self.known[self.read : self.read + count]
        guess = Guess(SequenceId(self.sequence), self.read, tokens, length)
        self.read += count
        return StepPlan(decode=ids(self.sequence), guess=guess)

    def guess(self, length: int) -> None:
        """Read the rest, guess, and take what was accepted."""
        known = len(self.known)
        result = self.runner.launch(self.plan(known - 1 - self.read, length)).collect()
        tokens = said([result], self.sequence)
        assert result.seconds > 0
        assert 1 <= len(tokens) <= length + 1
        self.read = known + min(len(tokens), length) - 1
        self.tokens += tokens
        self.accepted.append(len(tokens) - 1)


def begun(
    runner: Runner, prompt: Sequence[TokenId] = LONG, sampling: Sampling = GREEDY, sequence: int = 1
) -> Speaker:
    """A row that has said one token."""
    prefill(runner, sequence, prompt)
    first = said(steps(runner, ids(sequence), 1, join(sequence, prompt, (sequence, sampling))), sequence)
    return Speaker(runner, sequence, prompt, first)


@cache
def plain(
    make: Callable[[], Runner], prompt: tuple[TokenId, ...] = LONG, sampling: Sampling = GREEDY
) -> list[TokenId]:
    """What a fresh one says without guesses; said once, for all that is compared with it."""
    speaker = begun(make(), prompt, sampling)
    return speaker.tokens + said(steps(speaker.runner, ids(1), ANSWER + 20), 1)


@pytest.mark.parametrize(
    "sampling", [GREEDY, SEEDED, Sampling(temperature=1.0, seed=3, logit_bias=((5, 4.0),))]
)
@pytest.mark.parametrize("lengths", [(1,), (3,), (7, 1, 3), (15,)], ids=str)
def test_guesses_change_nothing_that_is_said(
    pair: Pair, sampling: Sampling, lengths: tuple[int, ...]
) -> None:
    """Greedy and seeded, for guesses of any lengths one behind the other."""
    speaker = begun(pair.make(), LONG, sampling)
    turn = 0
    while len(speaker.tokens) < ANSWER and turn < TURNS:
        speaker.guess(lengths[turn % len(lengths)])
        turn += 1
    assert speaker.tokens == plain(pair.make, LONG, sampling)[: len(speaker.tokens)]
    if pair.is_right is not None:
        made = [lengths[each % len(lengths)] if pair.is_right else 0 for each in range(turn)]
        assert speaker.accepted == made


def test_it_reads_in_pieces_beside_steps_that_overlap(pair: Pair) -> None:
    """Reading waits for nothing: a step is on its way while the next one reads on."""
    speaker = begun(pair.make())
    runner = speaker.runner
    first = runner.launch(speaker.plan(10, 0))
    second = runner.launch(speaker.plan(20, 0))
    speaker.tokens += said([first.collect()], 1)
    third = runner.launch(speaker.plan(10, 0))
    speaker.tokens += said([second.collect(), third.collect()], 1)
    speaker.guess(3)
    speaker.guess(3)
    assert speaker.tokens == plain(pair.make)[: len(speaker.tokens)]
    if pair.is_right:
        assert speaker.accepted == [3, 3]


def test_plain_steps_between_guesses_are_caught_up(pair: Pair) -> None:
    """Whatever was said meanwhile is read with the next guess."""
    speaker = begun(pair.make())
    for length in (3, 1, 7):
        speaker.guess(length)
        speaker.tokens += said(steps(speaker.runner, ids(1), 4), 1)
    assert speaker.tokens == plain(pair.make)[: len(speaker.tokens)]
    if pair.is_right:
        assert speaker.accepted == [3, 1, 7]


def test_another_row_is_begun_anew(pair: Pair) -> None:
    """What was read of the row before is forgotten, whether it left, was put aside, or is there."""
    runner = pair.make()
    first = begun(runner)
    first.guess(3)
    runner.launch(StepPlan(park=ids(1))).collect()
    second = begun(runner, SHORT, sequence=2)
    second.guess(7)
    runner.launch(StepPlan(release=ids(2), resume=ids(1), decode=ids(1))).collect()
    third = Speaker(runner, 1, LONG, plain(pair.make)[: len(first.tokens) + 1])
    third.guess(3)
    assert second.tokens == plain(pair.make, SHORT)[: len(second.tokens)]
    assert third.tokens == plain(pair.make)[: len(third.tokens)]
    if pair.is_right:
        assert (second.accepted, third.accepted) == ([7], [3])


def test_rows_that_join_find_a_row_as_it_is(pair: Pair) -> None:
    """And alone again it is guessed for from where that ended."""
    runner = pair.make()
    prefill(runner, 2, SHORT)
    speaker = begun(runner)
    speaker.guess(7)
    expected = plain(pair.make)
    if runner.facts.batchable:
        count = len(speaker.tokens)
        both = steps(runner, ids(1, 2), 3, join(2, SHORT, (2, GREEDY)))
        assert said(both, 1) == expected[count : count + 3]
        assert said(both, 2) == plain(pair.make, SHORT)[:3]
        both.append(runner.launch(StepPlan(release=ids(2), decode=ids(1))).collect())
        speaker.tokens += said(both, 1)
    speaker.guess(3)
    assert speaker.tokens == expected[: len(speaker.tokens)]
    if pair.is_right:
        assert speaker.accepted == [7, 3]


def test_what_a_guessed_row_read_can_be_kept(pair: Pair) -> None:
    """Positions that were taken back leave no trace in what is kept of a row."""
    speaker = begun(pair.make())
    speaker.guess(7)
    runner, read = speaker.runner, speaker.known[:-1]
    keep = Keep(SegmentId(1), SequenceId(1), 0, len(read))
    runner.launch(StepPlan(keep=(keep,), release=ids(1))).collect()
    restore = Restore(SequenceId(3), ((SegmentId(1), len(read)),))
    joining = join(3, speaker.known, (3, GREEDY))
    plan = StepPlan(restore=(restore,), join=(joining,), decode=ids(3))
    expected = plain(pair.make)
    count = len(speaker.tokens)
    assert said([runner.launch(plan).collect()], 3) == expected[count : count + 1]


def test_what_was_read_is_given_back(pair: Pair) -> None:
    """With the row its draft model's state goes too."""
    runner = pair.make()
    before = held_bytes(runner)
    speaker = begun(runner)
    speaker.guess(7)
    assert held_bytes(runner) > before
    runner.launch(StepPlan(release=ids(1))).collect()
    assert held_bytes(runner) <= before
