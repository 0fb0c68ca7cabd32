"""What every Runner keeps. Add an implementation to RUNNERS, and all of this holds for it too.

A factory makes a fresh runner. It needs a vocabulary of at least 90 and a context of at least 200 tokens.
"""

import gc
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from msgspec import structs
from tests.scaffolding.families import DEVICE, write_byte_tokenizer, write_random_model
from tests.scaffolding.memory import held_bytes
from tests.scaffolding.timings import UNMEASURED

from allod.core.drafts import Draft
from allod.core.ids import SegmentId, SequenceId, TokenId
from allod.core.ports import Runner
from allod.core.sampling import Sampling
from allod.core.step import (
    Discard,
    Join,
    Keep,
    ModelFacts,
    Prefill,
    Restore,
    Sampled,
    Split,
    StepPlan,
    StepResult,
)
from allod.device.base import Platform
from allod.device.choose import choose
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.masks import Masks
from allod.runner.probe import measure, with_few_shapes, with_groups
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner
from allod.runner.trials import Trials
from allod.testing.models import tiny_facts
from allod.testing.runner import FakeRunner

Factory = Callable[[], Runner]

BUDGET_BYTES = 2**31
BOUNDS = (4, 12)
"""Short prompts, those between, and long ones are a group each."""


@cache
def random_model(family: str) -> LoadedModel:
    """A small model of this family, loaded once."""
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(family, Path(folder) / family)
        return load(Path(folder) / family, RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED)


@cache
def byte_tokenizer() -> Path:
    """A tokenizer that fits the random models."""
    folder = Path(tempfile.mkdtemp())
    write_byte_tokenizer(folder)
    return folder / "tokenizer.json"


class FewShapes:
    """A platform that keeps shapes few, whatever the tests run on."""

    prepares_shapes = True

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def __getattr__(self, name: str) -> object:
        return getattr(self._platform, name)


@cache
def measured_model(
    family: str, *, few_shapes: bool = False, groups: bool = False
) -> tuple[LoadedModel, ModelFacts]:
    """A small model and its facts, which take longer to measure than most tests take with them."""
    loaded = random_model(family)
    if groups:
        loaded = with_groups(loaded, Trials())
        assert loaded.groups_rows
    if few_shapes:
        loaded = with_few_shapes(loaded, cast("Platform", FewShapes(choose(DEVICE))), Trials())
        assert loaded.pads_chunks
    facts = measure(loaded, choose(DEVICE), BUDGET_BYTES, 2048)
    gc.collect()  # layers that were replaced must not be freed while a test counts bytes
    assert facts.reads_together == (family != "qwen3_next")
    assert facts.scores_chunks == (family != "qwen3_next")
    assert bool(facts.group_bounds_tokens) == groups
    assert facts.reads_beside == (facts.scores_chunks and groups and not few_shapes)
    return loaded, structs.replace(facts, group_bounds_tokens=BOUNDS if groups else ())


def mlx_runner(family: str, *, few_shapes: bool = False, groups: bool = False) -> Runner:
    loaded, facts = measured_model(family, few_shapes=few_shapes, groups=groups)
    return MlxRunner(loaded.network, facts, Masks(byte_tokenizer(), facts.vocabulary))


RUNNERS: dict[str, Factory] = {
    "fake": lambda: FakeRunner(tiny_facts()),
    "fake, alone": lambda: FakeRunner(tiny_facts(batchable=False, alone_because="recurrent")),
    "fake, groups": lambda: FakeRunner(tiny_facts(group_bounds_tokens=BOUNDS)),
    "mlx, full attention": partial(mlx_runner, "llama"),
    "mlx, full attention, groups": partial(mlx_runner, "llama", groups=True),
    "mlx, sliding window": partial(mlx_runner, "gemma3_text"),
    "mlx, sliding window, groups": partial(mlx_runner, "gemma3_text", groups=True),
    "mlx, full attention, few shapes": partial(mlx_runner, "llama", few_shapes=True),
    "mlx, sliding window, few shapes, groups": partial(
        mlx_runner, "gemma3_text", few_shapes=True, groups=True
    ),
    "mlx, recurrent": partial(mlx_runner, "qwen3_next"),
    "mlx, recurrent, groups": partial(mlx_runner, "qwen3_next", groups=True),
}

GREEDY = Sampling(temperature=0.0)
LONG = tuple((7 * place) % 83 + 1 for place in range(40))
SHORT = (5, 3, 11, 2, 7)
ANSWER = 6
SEEDED = Sampling(temperature=0.9, top_p=0.9, seed=7)
ALLOCATOR_BYTES = 16 * 2**10
"""Arrays are given whole pages, and the models here have a dozen that are kept."""


@pytest.fixture(params=RUNNERS.values(), ids=list(RUNNERS))
def make_runner(request: pytest.FixtureRequest) -> Factory:
    return request.param


@pytest.fixture
def runner(make_runner: Factory) -> Runner:
    return make_runner()


@pytest.fixture
def batching(runner: Runner) -> Runner:
    if not runner.facts.batchable:
        pytest.skip(f"rows do not share a step: {runner.facts.alone_because}")
    return runner


def ids(*numbers: int) -> tuple[SequenceId, ...]:
    return tuple(SequenceId(number) for number in numbers)


def prefill(runner: Runner, state: int, prompt: Sequence[TokenId], *, cuts: Sequence[int] = ()) -> None:
    """Read all of a prompt but its last token, in pieces."""
    edges = [0, *cuts, len(prompt) - 1]
    for start, end in pairwise(edges):
        if end > start:
            chunk = Prefill(SequenceId(state), tuple(prompt[start:end]))
            runner.launch(StepPlan(prefill=(chunk,))).collect()


def join(state: int, prompt: Sequence[TokenId], *rows: tuple[int, Sampling]) -> Join:
    history = tuple(prompt) if any(sampling.needs_history for _, sampling in rows) else ()
    entering = tuple((SequenceId(sequence), sampling) for sequence, sampling in rows)
    return Join(SequenceId(state), entering, prompt[-1], history)


def steps(
    runner: Runner, rows: tuple[SequenceId, ...], count: int = ANSWER, *joins: Join
) -> list[StepResult]:
    """Decode these rows; the joins are part of the first step."""
    first = runner.launch(StepPlan(join=joins, decode=rows)).collect()
    return [first, *(runner.launch(StepPlan(decode=rows)).collect() for _ in range(count - 1))]


def said(results: Sequence[StepResult], sequence: int) -> list[TokenId]:
    return [each.token for result in results for each in result.sampled if each.sequence == sequence]


def answer(runner: Runner, prompt: Sequence[TokenId], sampling: Sampling = GREEDY) -> list[TokenId]:
    """What one row says alone."""
    prefill(runner, 1, prompt)
    tokens = said(steps(runner, ids(1), ANSWER, join(1, prompt, (1, sampling))), 1)
    runner.launch(StepPlan(release=ids(1))).collect()
    return tokens


def alone(make: Factory, prompt: Sequence[TokenId], sampling: Sampling = GREEDY) -> list[TokenId]:
    """What one row of a fresh runner says alone: what others are compared with, and need not be said anew."""
    return list(_alone(make, tuple(prompt), sampling))


@cache
def _alone(make: Factory, prompt: tuple[TokenId, ...], sampling: Sampling) -> tuple[TokenId, ...]:
    return tuple(answer(make(), prompt, sampling))


@pytest.mark.parametrize("cuts", [(16,), (1, 2, 3), (16, 32), (38,)])
def test_chunks_do_not_change_the_answer(make_runner: Factory, cuts: tuple[int, ...]):
    """A prompt read in any pieces gives the answer of the prompt read at once."""
    runner = make_runner()
    prefill(runner, 1, LONG, cuts=cuts)
    tokens = said(steps(runner, ids(1), ANSWER, join(1, LONG, (1, GREEDY))), 1)
    assert tokens == alone(make_runner, LONG)


@pytest.mark.parametrize("cuts", [(), (20,), (38,)])
@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_a_prompt_may_join_with_its_last_chunk(
    make_runner: Factory, cuts: tuple[int, ...], sampling: Sampling
):
    """It says what it says when it joins a step later, and what is kept before it joins serves others."""
    runner = make_runner()
    prefill(runner, 1, LONG[: cuts[0] + 1] if cuts else LONG[:1])
    last = Prefill(SequenceId(1), LONG[cuts[0] if cuts else 0 : -1])
    kept = (keep(runner, 7, 1, 0, len(LONG) - 1),)
    joining = (join(1, LONG, (1, sampling)),)
    plan = StepPlan(prefill=(last,), keep_read=kept, join=joining, decode=ids(1))
    results = [runner.launch(plan).collect(), *steps(runner, ids(1), ANSWER - 1)]
    assert said(results, 1) == alone(make_runner, LONG, sampling)
    runner.launch(StepPlan(release=ids(1))).collect()
    assert said_from(runner, LONG, restore(2, (7, 39)), 39) == alone(make_runner, LONG)


@pytest.mark.parametrize("rows_before", [0, 1])
@pytest.mark.parametrize("choices", [1, 3])
def test_what_is_kept_of_a_prompt_serves_others_whoever_takes_it_in(
    batching: Runner, make_runner: Factory, rows_before: int, choices: int
):
    """A prompt that ends is kept whole when it becomes one row or several, alone or beside others."""
    if rows_before:
        prefill(batching, 9, SHORT)
        steps(batching, ids(9), 1, join(9, SHORT, (9, GREEDY)))
    rows = ids(*range(1, choices + 1))
    joining = (join(1, LONG, *((int(row), GREEDY) for row in rows)),)
    plan = StepPlan(
        prefill=(Prefill(SequenceId(1), LONG[:-1]),),
        keep_read=(keep(batching, 7, 1, 0, len(LONG) - 1),),
        join=joining,
        decode=(*ids(9)[:rows_before], *rows),
    )
    batching.launch(plan).collect()
    batching.launch(StepPlan(release=(*ids(9)[:rows_before], *rows))).collect()
    assert said_from(batching, LONG, restore(10, (7, 39)), 39) == alone(make_runner, LONG)


@pytest.mark.parametrize("last", [LONG[-1], LONG[-1] + 1], ids=["known", "another last token"])
@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("rows_before", [0, 1])
def test_a_prompt_that_comes_again_says_the_same(
    batching: Runner, make_runner: Factory, rows_before: int, choices: int, last: TokenId
):
    """To one or to several, alone or beside others, though what followed it is known from the first time."""
    first = StepPlan(
        prefill=(Prefill(SequenceId(9), LONG[:-1]),),
        keep_read=(keep(batching, 7, 9, 0, len(LONG) - 1),),
        join=(join(9, LONG, (9, GREEDY)),),
        decode=ids(9),
    )
    results = [batching.launch(first).collect()]
    if not rows_before:
        batching.launch(StepPlan(release=ids(9))).collect()
    prompt = (*LONG[:-1], last)
    entering = dict(zip(ids(1, 2, 3), (GREEDY, SEEDED, GREEDY)[:choices], strict=False))
    before = ids(9)[:rows_before]
    results.append(batching.launch(StepPlan(restore=(restore(8, (7, 39)),), decode=before)).collect())
    rows = (*before, *entering)
    results += steps(
        batching, rows, ANSWER, join(8, prompt, *((int(row), entering[row]) for row in entering))
    )
    for row, sampling in entering.items():
        assert said(results, row) == alone(make_runner, prompt, sampling)
    assert said(results, 9)[:ANSWER] == alone(make_runner, LONG)[: ANSWER if before else 1]


def test_what_is_known_to_follow_a_prompt_follows_no_longer_one(batching: Runner, make_runner: Factory):
    """A prompt that goes on behind what was kept, and happens to end with the same token, is read."""
    prefill(batching, 9, LONG)
    batching.launch(StepPlan(keep=(keep(batching, 7, 9, 0, 39),))).collect()
    first = StepPlan(join=(join(9, LONG, (9, GREEDY)),), decode=ids(9))
    batching.launch(first).collect()
    batching.launch(StepPlan(release=ids(9))).collect()
    longer = (*LONG, 3, LONG[-1])
    assert said_from(batching, longer, restore(8, (7, 39)), 39) == alone(make_runner, longer)
    assert said_from(batching, LONG, restore(8, (7, 39)), 39) == alone(make_runner, LONG)


def test_prompts_join_with_their_last_chunks_beside_rows(batching: Runner, make_runner: Factory):
    """Each says what it says alone: one decodes, one was read before, two end now, one goes on later."""
    prompts = {1: LONG, 2: SHORT, 3: (*LONG[:30], 9), 4: (*LONG[5:30], 8), 5: LONG[3:35]}
    prefill(batching, 1, LONG)
    prefill(batching, 2, SHORT)
    results = steps(batching, ids(1), 2, join(1, LONG, (1, GREEDY)))
    chunks = tuple(Prefill(SequenceId(state), tuple(prompts[state][:-1])) for state in (3, 4, 5))
    ended = (join(3, prompts[3], (3, GREEDY), (6, SEEDED)), join(4, prompts[4], (4, GREEDY)))
    plan = StepPlan(prefill=chunks, join=(join(2, SHORT, (2, GREEDY)), *ended), decode=ids(1, 2, 3, 6, 4))
    results += [batching.launch(plan).collect(), *steps(batching, ids(1, 2, 3, 6, 4), ANSWER - 1)]
    results += steps(batching, ids(1, 2, 3, 6, 4, 5), ANSWER, join(5, prompts[5], (5, GREEDY)))
    for sequence, prompt in prompts.items():
        assert said(results, sequence)[:ANSWER] == alone(make_runner, prompt)
    assert said(results, 6)[:ANSWER] == alone(make_runner, prompts[3], SEEDED)


def draft(runner: Runner, sequence: int, tokens: Sequence[TokenId]) -> list[TokenId]:
    """What a step says that reads a draft."""
    plan = StepPlan(decode=ids(sequence), drafts=(Draft(SequenceId(sequence), tuple(tokens)),))
    result = runner.launch(plan).collect()
    assert result.seconds > 0
    return said([result], sequence)


@pytest.fixture
def drafting(runner: Runner) -> Runner:
    if runner.facts.undrafted_because:
        pytest.skip(f"no drafts: {runner.facts.undrafted_because}")
    return runner


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize("right", range(5))
def test_a_draft_changes_nothing_that_is_said(
    make_runner: Factory, drafting: Runner, sampling: Sampling, right: int
) -> None:
    """A row says of a draft what it would have said, and goes on as if there had been none."""
    expected = alone(make_runner, LONG, sampling)
    prefill(drafting, 1, LONG)
    tokens = said(steps(drafting, ids(1), 1, join(1, LONG, (1, sampling))), 1)
    wrong = (expected[1 + right] + 1) % 80 + 1 if right < 4 else None
    drafted = [*expected[1 : 1 + right], *((wrong, 1, 2)[: 3 - min(right, 2)] if wrong is not None else ())]
    tokens += draft(drafting, 1, drafted)
    assert tokens == expected[: 2 + right]
    while len(tokens) < ANSWER:
        tokens += said(steps(drafting, ids(1), 1), 1)
    assert tokens == expected


def test_draft_after_draft(make_runner: Factory, drafting: Runner) -> None:
    """A row can be given one draft behind the other; rows that join later find it as it is."""
    expected = alone(make_runner, LONG)
    prefill(drafting, 2, SHORT)
    prefill(drafting, 1, LONG)
    tokens = said(steps(drafting, ids(1), 1, join(1, LONG, (1, GREEDY))), 1)
    tokens += draft(drafting, 1, expected[1:3])
    tokens += draft(drafting, 1, [expected[4] % 80 + 1])
    assert tokens == expected[:5]
    if drafting.facts.batchable:
        both = steps(drafting, ids(1, 2), 3, join(2, SHORT, (2, GREEDY)))
        assert said(both, 1)[:1] == expected[5:]
        assert said(both, 2) == alone(make_runner, SHORT)[:3]


def test_what_a_drafted_row_read_can_be_kept(make_runner: Factory, drafting: Runner) -> None:
    """Positions that were taken back leave no trace in what is kept of a row."""
    expected = alone(make_runner, LONG)
    prefill(drafting, 1, LONG)
    said(steps(drafting, ids(1), 1, join(1, LONG, (1, GREEDY))), 1)
    assert len(draft(drafting, 1, [expected[1], (expected[2] + 1) % 80 + 1, 1, 2])) == 2
    read = (*LONG, *expected[:2])
    keep = Keep(SegmentId(1), SequenceId(1), 0, len(read))
    drafting.launch(StepPlan(keep=(keep,), release=ids(1))).collect()
    restore = Restore(SequenceId(3), ((SegmentId(1), len(read)),))
    going_on = (*read, expected[2])
    results = [
        drafting.launch(
            StepPlan(restore=(restore,), join=(join(3, going_on, (3, GREEDY)),), decode=ids(3))
        ).collect()
    ]
    assert said(results, 3) == expected[3:4]


def test_a_prompt_of_one_token_joins_without_prefill(runner: Runner):
    """There is no state to consume, and a row starts all the same, twice alike."""
    first = said(steps(runner, ids(1), ANSWER, join(1, (9,), (1, GREEDY))), 1)
    runner.launch(StepPlan(release=ids(1))).collect()
    second = said(steps(runner, ids(2), ANSWER, join(2, (9,), (2, GREEDY))), 2)
    assert len(first) == ANSWER
    assert first == second


def test_a_row_says_the_same_alone_and_in_a_batch(make_runner: Factory, batching: Runner):
    """Prompts of different lengths share every step, and neither notices."""
    prefill(batching, 1, LONG)
    prefill(batching, 2, SHORT)
    both = steps(batching, ids(1, 2), ANSWER, join(1, LONG, (1, GREEDY)), join(2, SHORT, (2, GREEDY)))
    assert said(both, 1) == alone(make_runner, LONG)
    assert said(both, 2) == alone(make_runner, SHORT)


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [((20, 20, 20), 0), ((40, 38, 36), 30), ((40, 5, 40, 2), 0), ((40, 5, 40, 2), 30), ((3, 3), 1)],
    ids=["equal", "nearly equal, kept", "different", "different, kept", "short"],
)
def test_prompts_that_are_read_in_one_step_say_the_same(
    make_runner: Factory, batching: Runner, lengths: tuple[int, ...], kept: int
):
    """Whatever the lengths of their chunks, also behind the same beginning, also in two steps each."""
    begin = LONG[:kept]
    prompts = [
        (*begin, *((row + 7 * place) % 83 + 1 for place in range(length)))
        for row, length in enumerate(lengths)
    ]
    members = ids(*range(1, len(prompts) + 1))
    if kept:
        prefill(batching, 99, (*begin, 1))
        batching.launch(StepPlan(keep=(keep(batching, 7, 99, 0, kept),), release=ids(99))).collect()
    started = tuple(restore(member, (7, kept)) for member in members) if kept else ()
    firsts = [kept + (len(prompt) - 1 - kept) // 2 for prompt in prompts]
    begun = tuple(
        Prefill(member, prompt[kept:first])
        for member, prompt, first in zip(members, prompts, firsts, strict=True)
        if first > kept
    )
    rests = tuple(
        Prefill(member, prompt[first:-1])
        for member, prompt, first in zip(members, prompts, firsts, strict=True)
    )
    batching.launch(StepPlan(restore=started, prefill=begun)).collect()
    batching.launch(StepPlan(prefill=rests)).collect()
    joins = [join(member, prompt, (member, GREEDY)) for member, prompt in zip(members, prompts, strict=True)]
    results = steps(batching, members, ANSWER, *joins)
    for member, prompt in zip(members, prompts, strict=True):
        assert said(results, member) == alone(make_runner, prompt)


@pytest.mark.parametrize("grammar", ['start: "a" /[b-d]{40}/', "start: nowhere"], ids=["followed", "broken"])
def test_a_row_with_a_grammar_does_not_disturb_others(make_runner: Factory, batching: Runner, grammar: str):
    """A grammar is its own row's affair, also one that cannot be followed."""
    prefill(batching, 1, LONG)
    prefill(batching, 2, SHORT)
    bound = replace(join(1, LONG, (1, GREEDY)), grammar=grammar, stop_tokens=(0,))
    both = steps(batching, ids(1, 2), ANSWER, bound, join(2, SHORT, (2, GREEDY)))
    assert len(said(both, 1)) == ANSWER
    assert said(both, 2) == alone(make_runner, SHORT)


@pytest.mark.parametrize("is_newcomer_longer", [False, True])
def test_coming_and_going_does_not_disturb_others(
    make_runner: Factory, batching: Runner, is_newcomer_longer: bool
):
    """A row that joins, a chunk that is read beside it, and a row that leaves change no other row."""
    old, new = (SHORT, LONG) if is_newcomer_longer else (LONG, SHORT)
    prefill(batching, 1, old)
    results = steps(batching, ids(1), 2, join(1, old, (1, GREEDY)))
    reading = StepPlan(decode=ids(1), prefill=(Prefill(SequenceId(2), tuple(new[:-1])),))
    results.append(batching.launch(reading).collect())
    results += steps(batching, ids(1, 2), 2, join(2, new, (2, GREEDY)))
    leaving = StepPlan(release=ids(1), decode=ids(2))
    results.append(batching.launch(leaving).collect())
    results += steps(batching, ids(2), ANSWER - 3)
    assert said(results, 1) == alone(make_runner, old)[:5]
    assert said(results, 2) == alone(make_runner, new)


def test_one_prompt_forks_into_rows(make_runner: Factory, batching: Runner):
    """N greedy choices of one prompt all say what one would."""
    prefill(batching, 1, LONG)
    rows = ((1, GREEDY), (2, GREEDY), (3, GREEDY))
    results = steps(batching, ids(1, 2, 3), ANSWER, join(1, LONG, *rows))
    assert [said(results, sequence) for sequence in (1, 2, 3)] == [alone(make_runner, LONG)] * 3


def test_a_state_outlives_the_choice_it_is_named_after(make_runner: Factory, runner: Runner):
    """The rows that join need not include the sequence the state was prefilled under."""
    prefill(runner, 1, SHORT)
    tokens = said(steps(runner, ids(2), ANSWER, join(1, SHORT, (2, GREEDY))), 2)
    assert tokens == alone(make_runner, SHORT)


def test_a_seed_makes_a_row_repeat_itself(make_runner: Factory, runner: Runner):
    """With a seed, sampling at temperature 1 is a function of the prompt."""
    seeded = Sampling(temperature=1.0, seed=1234)
    assert answer(runner, SHORT, seeded) == alone(make_runner, SHORT, seeded)


def test_a_seed_does_not_care_for_the_batch(make_runner: Factory, batching: Runner):
    """A seeded row says the same whatever else is in the batch."""
    seeded = Sampling(temperature=1.0, seed=7)
    prefill(batching, 1, SHORT)
    prefill(batching, 2, LONG)
    both = steps(batching, ids(2, 1), ANSWER, join(2, LONG, (2, GREEDY)), join(1, SHORT, (1, seeded)))
    assert said(both, 1) == alone(make_runner, SHORT, seeded)


def test_penalties_take_the_prompt(runner: Runner):
    """A join that carries the prompt for its history is understood."""
    tokens = answer(runner, SHORT, Sampling(temperature=0.0, repetition_penalty=1.3, presence_penalty=0.5))
    assert len(tokens) == ANSWER


def test_results_come_in_the_order_of_the_plan(batching: Runner):
    """One entry per decoded row, in the order of `decode`, whichever that is."""
    prefill(batching, 1, SHORT)
    first = steps(batching, ids(2, 1), 1, join(1, SHORT, (1, GREEDY), (2, GREEDY)))[0]
    second = batching.launch(StepPlan(decode=ids(1, 2))).collect()
    assert [each.sequence for each in first.sampled] == [2, 1]
    assert [each.sequence for each in second.sampled] == [1, 2]


def test_a_step_may_start_before_the_last_one_is_read(make_runner: Factory, runner: Runner):
    """With one step in flight the tokens are those of a runner that waits for each."""
    prefill(runner, 1, SHORT)
    flights = [runner.launch(StepPlan(join=(join(1, SHORT, (1, GREEDY)),), decode=ids(1)))]
    results: list[StepResult] = []
    for _ in range(ANSWER - 1):
        flights.append(runner.launch(StepPlan(decode=ids(1))))
        results.append(flights.pop(0).collect())
    last = runner.launch(StepPlan(release=ids(1)))
    results.append(flights.pop().collect())
    assert last.collect().sampled == ()
    assert said(results, 1) == alone(make_runner, SHORT)


def test_a_parked_row_goes_on_as_if_it_had_never_left(make_runner: Factory, runner: Runner):
    """A whole batch that is put aside for another row, in the middle of its answer, says the same."""
    prefill(runner, 1, LONG)
    results = steps(runner, ids(1), 2, join(1, LONG, (1, GREEDY)))
    flight = runner.launch(StepPlan(decode=ids(1)))
    parking = runner.launch(StepPlan(park=ids(1), prefill=(Prefill(SequenceId(2), SHORT[:-1]),)))
    results += [flight.collect(), parking.collect()]
    guest = steps(runner, ids(2), ANSWER, join(2, SHORT, (2, GREEDY)))
    resuming = StepPlan(release=ids(2), resume=ids(1), decode=ids(1))
    results.append(runner.launch(resuming).collect())
    results += steps(runner, ids(1), ANSWER - 4)
    assert said(results, 1) == alone(make_runner, LONG)
    assert said(guest, 2) == alone(make_runner, SHORT)


def test_rows_are_parked_and_come_back_one_by_one(make_runner: Factory, batching: Runner):
    """Any rows of a batch may leave and return in any order; what was parked may be released."""
    prefill(batching, 1, LONG)
    prefill(batching, 2, SHORT)
    joins = join(1, LONG, (1, GREEDY), (3, GREEDY)), join(2, SHORT, (2, GREEDY))
    results = steps(batching, ids(1, 3, 2), 2, *joins)
    turns = [
        StepPlan(park=ids(1, 2), decode=ids(3)),
        StepPlan(park=ids(3), resume=ids(2), decode=ids(2)),
        StepPlan(release=ids(3), resume=ids(1), decode=ids(2, 1)),
    ]
    results += [batching.launch(turn).collect() for turn in turns]
    results += steps(batching, ids(1, 2), ANSWER - 4)
    results += [batching.launch(StepPlan(park=ids(2), decode=ids(1))).collect()]
    assert said(results, 1) == alone(make_runner, LONG)
    assert said(results, 2) == alone(make_runner, SHORT)[:ANSWER]
    assert said(results, 3) == alone(make_runner, LONG)[:3]
    held = held_bytes(batching)
    batching.launch(StepPlan(release=ids(1, 2))).collect()
    assert held_bytes(batching) < held


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(temperature=1.0, seed=9),
        Sampling(temperature=0.0, presence_penalty=0.7, frequency_penalty=0.4, repetition_penalty=1.2),
    ],
    ids=["greedy", "seeded", "penalties"],
)
def test_a_row_that_was_given_up_is_started_again_from_what_it_said(
    make_runner: Factory, runner: Runner, sampling: Sampling
):
    """Its id starts anew, with a prompt of all it read; position, penalties and text go on."""
    whole = alone(make_runner, LONG, sampling)
    prefill(runner, 1, LONG)
    first = said(steps(runner, ids(1), 3, join(1, LONG, (1, sampling))), 1)
    runner.launch(StepPlan(park=ids(1))).collect()
    runner.launch(StepPlan(release=ids(1))).collect()
    prefill(runner, 1, (*LONG, *first))
    again = Join(
        SequenceId(1),
        ((SequenceId(1), sampling),),
        first[-1],
        LONG if sampling.needs_history else (),
        said=tuple(first),
    )
    assert first + said(steps(runner, ids(1), ANSWER - 3, again), 1) == whole


@pytest.mark.parametrize("wanted", [None, 0, 3])
def test_scores_come_exactly_when_asked_for(runner: Runner, wanted: int | None):
    """Log probabilities are at most 0, alternatives as many as asked for, the likeliest first."""
    sampling = Sampling(temperature=0.0, top_logprobs=wanted)
    prefill(runner, 1, SHORT)
    results = steps(runner, ids(1), 2, join(1, SHORT, (1, sampling)))
    for sampled in (each for result in results for each in result.sampled):
        require_scores(sampled, wanted)


def require_scores(sampled: Sampled, wanted: int | None) -> None:
    if wanted is None:
        assert sampled.scores is None
        return
    assert sampled.scores is not None
    assert sampled.scores.chosen <= 0.0
    logprobs = [logprob for _, logprob in sampled.scores.alternatives]
    assert len(logprobs) == wanted
    assert logprobs == sorted(logprobs, reverse=True)
    if wanted:
        assert sampled.scores.alternatives[0] == (sampled.token, sampled.scores.chosen)


def test_tokens_are_of_the_vocabulary_and_time_passes(runner: Runner):
    """Ids index the vocabulary; a step that works is busy for a finite time above zero."""
    prefill(runner, 1, SHORT)
    for result in steps(runner, ids(1), ANSWER, join(1, SHORT, (1, GREEDY))):
        assert all(0 <= each.token < runner.facts.vocabulary for each in result.sampled)
        assert 0.0 < result.seconds < 600.0


def test_release_gives_the_memory_back(runner: Runner):
    """Rows and half-read prompts hold bytes; released, they hold none that count."""
    answer(runner, SHORT)
    before = held_bytes(runner)
    prefill(runner, 2, LONG)
    steps(runner, ids(2), 2, join(2, LONG, (2, GREEDY)))
    runner.launch(StepPlan(decode=ids(2), prefill=(Prefill(SequenceId(3), LONG[:16]),))).collect()
    held = held_bytes(runner) - before
    assert held > 0
    runner.launch(StepPlan(release=ids(2, 3))).collect()
    assert held_bytes(runner) - before <= held / 10
    assert runner.memory().peak_bytes >= before + held


def test_facts_are_sound(runner: Runner):
    """What admission counts with is there, and the weights leave room."""
    facts = runner.facts
    assert 0 < facts.weights_bytes < facts.budget_bytes
    assert facts.layers
    assert facts.capacity_step_tokens > 0
    assert min(facts.transient_bytes_per_token, facts.transient_bytes_per_token_and_context) >= 0
    assert facts.batchable == (facts.alone_because == "")


def needs_tips(runner: Runner) -> bool:
    return any(layer.kind != "full" for layer in runner.facts.layers)


def keep(runner: Runner, name: int, source: int, start: int, end: int) -> Keep:
    return Keep(SegmentId(name), SequenceId(source), start, end, tip=needs_tips(runner))


def restore(state: int, *parts: tuple[int, int]) -> Restore:
    return Restore(SequenceId(state), tuple((SegmentId(name), used) for name, used in parts))


def said_from(runner: Runner, prompt: Sequence[TokenId], start: Restore, read: int) -> list[TokenId]:
    """What a row says whose prompt goes on from what was kept; `read` of its tokens are."""
    state = start.state
    rest = tuple(prompt[read:-1])
    runner.launch(StepPlan(restore=(start,), prefill=(Prefill(state, rest),) if rest else ())).collect()
    tokens = said(steps(runner, (state,), ANSWER, join(state, prompt, (state, GREEDY))), state)
    runner.launch(StepPlan(release=(state,))).collect()
    return tokens


@pytest.mark.parametrize("cut", [1, 20, 39])
def test_a_prompt_goes_on_from_what_was_kept_of_another(runner: Runner, make_runner: Factory, cut: int):
    """The prompt that was kept goes on unharmed, and others go on from it as if they had read it all."""
    prefill(runner, 1, LONG[: cut + 1])
    runner.launch(StepPlan(keep=(keep(runner, 7, 1, 0, cut),))).collect()
    if cut < len(LONG) - 1:
        runner.launch(StepPlan(prefill=(Prefill(SequenceId(1), LONG[cut:-1]),))).collect()
    first = said(steps(runner, ids(1), ANSWER, join(1, LONG, (1, GREEDY))), 1)
    runner.launch(StepPlan(release=ids(1))).collect()
    again = said_from(runner, LONG, restore(2, (7, cut)), cut)
    other = (*LONG[:cut], *SHORT)
    parted = said_from(runner, other, restore(3, (7, cut)), cut)
    assert first == again == alone(make_runner, LONG)
    assert parted == alone(make_runner, other)


@pytest.mark.parametrize("behind", [1, 10, 28])
def test_what_a_chunk_went_on_from_can_be_kept(runner: Runner, make_runner: Factory, behind: int):
    """Windows are cut as they were within the last chunk; nobody reads a chunk in two for that."""
    if any(layer.kind != "full" and layer.window_tokens is None for layer in runner.facts.layers):
        pytest.skip("a layer takes in everything")
    prefill(runner, 1, LONG[:11])
    runner.launch(StepPlan(prefill=(Prefill(SequenceId(1), LONG[10:39]),))).collect()
    cut = 39 - behind
    kept = (keep(runner, 7, 1, 0, cut), keep(runner, 8, 1, cut, 39))
    runner.launch(StepPlan(keep=kept)).collect()
    first = said(steps(runner, ids(1), ANSWER, join(1, LONG, (1, GREEDY))), 1)
    runner.launch(StepPlan(release=ids(1))).collect()
    assert first == alone(make_runner, LONG)
    assert said_from(runner, LONG, restore(2, (7, cut)), cut) == first
    assert said_from(runner, LONG, restore(3, (7, cut), (8, behind)), 39) == first


def test_segments_follow_one_another(runner: Runner, make_runner: Factory):
    """What was kept in parts is put together; the last may be used in part where no layer needs a tip."""
    prefill(runner, 1, LONG[:11])
    more = Prefill(SequenceId(1), LONG[10:30])
    runner.launch(StepPlan(keep=(keep(runner, 7, 1, 0, 10),), prefill=(more,))).collect()
    runner.launch(StepPlan(keep=(keep(runner, 8, 1, 10, 30),), release=ids(1))).collect()
    assert said_from(runner, LONG, restore(2, (7, 10), (8, 20)), 30) == alone(make_runner, LONG)
    if not needs_tips(runner):
        assert said_from(runner, LONG, restore(3, (7, 10), (8, 13)), 23) == alone(make_runner, LONG)


def test_both_halves_of_a_segment_serve(runner: Runner, make_runner: Factory):
    """The head serves without the tail where a state can go on there, and both together always do."""
    prefill(runner, 1, LONG[:31])
    split = Split(SegmentId(7), 12, SegmentId(8), SegmentId(9))
    runner.launch(StepPlan(keep=(keep(runner, 7, 1, 0, 30), split), release=ids(1))).collect()
    assert said_from(runner, LONG, restore(2, (8, 12), (9, 18)), 30) == alone(make_runner, LONG)
    if not needs_tips(runner):
        runner.launch(StepPlan(restore=(Discard(SegmentId(9)),))).collect()
        assert said_from(runner, LONG, restore(3, (8, 12)), 12) == alone(make_runner, LONG)


def test_a_tip_can_come_later_and_go_earlier(runner: Runner, make_runner: Factory):
    """A segment without a tip takes one at its end, and can lose it alone."""
    if not needs_tips(runner):
        pytest.skip("no layer needs a tip")
    prefill(runner, 1, LONG[:31])
    split = Split(SegmentId(7), 12, SegmentId(8), SegmentId(9))
    runner.launch(StepPlan(keep=(keep(runner, 7, 1, 0, 30), split), release=ids(1))).collect()
    prefill(runner, 2, LONG[:13])
    runner.launch(StepPlan(keep=(keep(runner, 8, 2, 12, 12),), release=ids(2))).collect()
    assert said_from(runner, LONG, restore(3, (8, 12)), 12) == alone(make_runner, LONG)
    runner.launch(StepPlan(keep=(Discard(SegmentId(8), tip_only=True),))).collect()
    assert said_from(runner, LONG, restore(4, (8, 12), (9, 18)), 30) == alone(make_runner, LONG)


def test_rows_of_a_batch_can_be_kept(batching: Runner, make_runner: Factory):
    """Of rows of any lengths that share steps, each gives what it has read itself, its answer included."""
    prefill(batching, 1, LONG)
    prefill(batching, 2, SHORT)
    results = steps(batching, ids(1, 2), ANSWER, join(1, LONG, (1, GREEDY)), join(2, SHORT, (2, GREEDY)))
    kept: list[Keep] = []
    for number, prompt in ((1, LONG), (2, SHORT)):
        kept.append(keep(batching, number, number, 0, len(prompt) - 1 + ANSWER))
    batching.launch(StepPlan(keep=tuple(kept), release=ids(1, 2))).collect()
    for number, prompt in ((1, LONG), (2, SHORT)):
        read = (*prompt, *said(results, number)[:-1])
        longer = (*read, 9, 4)
        tokens = said_from(batching, longer, restore(10 + number, (number, len(read))), len(read))
        assert tokens == alone(make_runner, longer)


def test_what_is_kept_outlives_what_it_came_from_and_is_given_back(runner: Runner):
    """Keeping costs what the facts say per token and per tip, and what allocators add; forgetting frees."""
    prefill(runner, 1, LONG[:31])
    runner.launch(StepPlan(keep=(keep(runner, 7, 1, 0, 30),), release=ids(1))).collect()
    with_one = held_bytes(runner)
    prefill(runner, 2, LONG[:31])
    runner.launch(StepPlan(keep=(keep(runner, 8, 2, 0, 30),), release=ids(2))).collect()
    layers = runner.facts.layers
    each_bytes = sum(layer.bytes_per_token for layer in layers if layer.kind == "full")
    tip_bytes = sum(
        layer.fixed_bytes + layer.bytes_per_token * min(30, layer.window_tokens or 30)
        for layer in layers
        if layer.kind != "full"
    )
    kept_bytes = held_bytes(runner) - with_one
    assert 0 <= kept_bytes - (30 * each_bytes + tip_bytes) <= ALLOCATOR_BYTES
    runner.launch(StepPlan(keep=(Discard(SegmentId(8)),))).collect()
    assert held_bytes(runner) == with_one
