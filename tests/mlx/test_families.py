"""Greedy text equals mlx-lm's own, for every family of KV state, alone and in a batch of mixed lengths."""

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.generate import generate_step
from msgspec import structs
from tests.scaffolding.families import DEVICE, FAMILIES, VOCABULARY, write_random_model
from tests.scaffolding.timings import UNMEASURED

from allod.core.ids import SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, ModelFacts, Prefill, StepPlan
from allod.device.choose import choose
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.network import TextNetwork
from allod.runner.probe import fitted, measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner

pytestmark = [pytest.mark.mlx, pytest.mark.slow]

BUDGET_BYTES = 2**31
STEPS = 24
LENGTHS = (1, 2, 5, 40, 70)
GROUP_BOUNDS = (2, 60)
IN_GROUPS = {"gemma3_text", "gpt_oss", "llama", "qwen3", "qwen3_moe", "qwen3_next"}
"""Families with layers that grow, and that hand keys and values straight to MLX's attention."""

BESIDE = IN_GROUPS - {"qwen3_next"}
"""Those of them without layers that read a text's tokens one after the other."""

GREEDY = Sampling(temperature=0.0)
TIE_MARGIN = 1e-3
"""Two logits closer than this may change order when a product is summed in another order."""


def prompt_of(length: int) -> list[int]:
    return [(17 * length + 31 * position + position * position) % VOCABULARY for position in range(length)]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp("families") / request.param
    write_random_model(request.param, folder)
    return load(folder, RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED)


@pytest.fixture(scope="module")
def grouping(loaded: LoadedModel) -> LoadedModel:
    """The same model as it is served: what pays on the device, and rows in groups where the family can."""
    return fitted(loaded, choose(DEVICE))


@pytest.fixture(scope="module")
def facts(grouping: LoadedModel) -> ModelFacts:
    """With as many groups of rows as the lengths here fill."""
    facts = measure(grouping, choose(DEVICE), BUDGET_BYTES, 2048)
    return structs.replace(facts, group_bounds_tokens=GROUP_BOUNDS if facts.group_bounds_tokens else ())


@pytest.fixture
def runner(grouping: LoadedModel, facts: ModelFacts) -> MlxRunner:
    return MlxRunner(grouping.network, facts)


def module_of(loaded: LoadedModel) -> nn.Module:
    assert isinstance(loaded.network, TextNetwork)
    return loaded.network.model


def reference(loaded: LoadedModel, prompt: list[int], steps: int) -> list[int]:
    generated = generate_step(mx.array(prompt), module_of(loaded), max_tokens=steps)
    return [token for token, _ in generated]


def prefill(runner: MlxRunner, sequence: int, prompt: list[int], chunk: int = 16) -> None:
    for start in range(0, len(prompt) - 1, chunk):
        tokens = tuple(prompt[:-1][start : start + chunk])
        runner.launch(StepPlan(prefill=(Prefill(SequenceId(sequence), tokens),))).collect()


def join(sequence: int, prompt: list[int], sampling: Sampling = GREEDY) -> Join:
    identifier = SequenceId(sequence)
    return Join(identifier, ((identifier, sampling),), prompt[-1], tuple(prompt))


def assert_same_or_tied(loaded: LoadedModel, prompt: list[int], got: list[int], wanted: list[int]) -> None:
    """Equal, or first different where mlx-lm's own logits of both tokens are within TIE_MARGIN."""
    if got == wanted:
        return
    at = next(index for index, pair in enumerate(zip(got, wanted, strict=True)) if pair[0] != pair[1])
    logits = module_of(loaded)(mx.array([prompt + wanted[:at]]))[0, -1].astype(mx.float32)
    margin = abs((logits[got[at]] - logits[wanted[at]]).item())
    assert margin < TIE_MARGIN, f"token {at}: {got[at]} instead of {wanted[at]}, {margin} apart"


def test_every_family_here_can_be_batched_and_kept(runner: MlxRunner) -> None:
    """The load-time probe finds nothing against batching, keeping or storing any of these families."""
    facts = runner.facts
    assert (facts.alone_because, facts.unkept_because, facts.unstored_because) == ("", "", "")
    assert runner.facts.vocabulary == VOCABULARY


def test_rows_are_in_groups_where_that_can_be(facts: ModelFacts, request: pytest.FixtureRequest) -> None:
    """The load-time trial tells the families apart whose rows can decode in groups by length."""
    family = request.node.callspec.params["loaded"]
    assert (facts.group_bounds_tokens == GROUP_BOUNDS) == (family in IN_GROUPS)


def test_chunks_share_a_pass_with_rows_where_that_can_be(
    facts: ModelFacts, request: pytest.FixtureRequest
) -> None:
    """The load-time trial tells the families apart whose chunks can; where shapes are kept few none does."""
    family = request.node.callspec.params["loaded"]
    assert facts.reads_beside == (family in BESIDE and not choose(DEVICE).prepares_shapes)


@pytest.mark.parametrize("length", LENGTHS)
def test_alone_equals_mlx_lm(loaded: LoadedModel, runner: MlxRunner, length: int) -> None:
    """A row alone gives mlx-lm's tokens, also past the sliding window and from a one-token prompt."""
    prompt = prompt_of(length)
    prefill(runner, 1, prompt, chunk=2048)
    sequence = SequenceId(1)
    tokens: list[int] = []
    flight = runner.launch(StepPlan(join=(join(1, prompt),), decode=(sequence,)))
    for _ in range(STEPS - 1):
        following = runner.launch(StepPlan(decode=(sequence,)))
        tokens.append(flight.collect().sampled[0].token)
        flight = following
    tokens.append(flight.collect().sampled[0].token)
    assert tokens == reference(loaded, prompt, STEPS)


def test_mixed_batch_with_arrivals_and_departures_equals_mlx_lm(
    loaded: LoadedModel, runner: MlxRunner
) -> None:
    """Rows of all lengths join one after another, leave at different steps, and each gives its own text."""
    prompts = {index: prompt_of(length) for index, length in enumerate(LENGTHS, start=1)}
    ends = {1: 30, 2: 12, 3: 33, 4: 20, 5: 26}
    tokens: dict[int, list[int]] = {index: [] for index in prompts}
    rows: list[int] = []
    step = 0
    while len(tokens[3]) < ends[3] or rows:
        arriving = [index for index in prompts if step == 3 * (index - 1)]
        for index in arriving:
            prefill(runner, index, prompts[index])
        leaving = [index for index in rows if len(tokens[index]) >= ends[index]]
        rows = [index for index in rows if index not in leaving] + arriving
        plan = StepPlan(
            release=tuple(SequenceId(index) for index in leaving),
            join=tuple(join(index, prompts[index]) for index in arriving),
            decode=tuple(SequenceId(index) for index in rows),
        )
        for sampled in runner.launch(plan).collect().sampled:
            tokens[sampled.sequence].append(sampled.token)
        step += 1
    for index, prompt in prompts.items():
        assert_same_or_tied(loaded, prompt, tokens[index], reference(loaded, prompt, ends[index]))


def test_prompts_that_are_read_beside_rows_equal_mlx_lm(loaded: LoadedModel, runner: MlxRunner) -> None:
    """Two prompts are read in chunks while another decodes, and then join it: all say their own."""
    prompts = {1: prompt_of(9), 2: prompt_of(57), 3: prompt_of(33)}
    tokens: dict[int, list[int]] = {index: [] for index in prompts}
    prefill(runner, 1, prompts[1])
    rows, joins = [SequenceId(1)], [join(1, prompts[1])]
    for start in range(0, 256, 16):
        chunks = {index: tuple(prompts[index][:-1][start : start + 16]) for index in (2, 3)}
        prefills = [Prefill(SequenceId(index), chunk) for index, chunk in chunks.items() if chunk]
        ended = [index for index in (2, 3) if start <= len(prompts[index]) - 2 < start + 16]
        if runner.facts.scores_chunks:
            joins += [join(index, prompts[index]) for index in ended]
        rows += [arriving.sequences[0][0] for arriving in joins if arriving.sequences[0][0] not in rows]
        plan = StepPlan(prefill=tuple(prefills), join=tuple(joins), decode=tuple(rows))
        for sampled in runner.launch(plan).collect().sampled:
            tokens[sampled.sequence].append(sampled.token)
        joins = [] if runner.facts.scores_chunks else [join(index, prompts[index]) for index in ended]
    for index, prompt in prompts.items():
        assert_same_or_tied(loaded, prompt, tokens[index], reference(loaded, prompt, len(tokens[index])))


def test_forks_of_one_prompt_are_independent_rows(loaded: LoadedModel, runner: MlxRunner) -> None:
    """Three choices of one prefilled prompt: greedy ones equal mlx-lm, a seeded one equals itself alone."""
    prompt = prompt_of(40)
    seeded = Sampling(temperature=1.0, seed=5)
    alone: list[int] = []
    prefill(runner, 9, prompt)
    plan = StepPlan(join=(join(9, prompt, seeded),), decode=(SequenceId(9),))
    for _ in range(8):
        alone.append(runner.launch(plan).collect().sampled[0].token)
        plan = StepPlan(decode=(SequenceId(9),))
    prefill(runner, 1, prompt)
    ids = (SequenceId(1), SequenceId(2), SequenceId(3))
    fork = Join(ids[0], ((ids[0], GREEDY), (ids[1], seeded), (ids[2], GREEDY)), prompt[-1], ())
    plan = StepPlan(release=(SequenceId(9),), join=(fork,), decode=ids)
    rows: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for _ in range(8):
        for sampled in runner.launch(plan).collect().sampled:
            rows[sampled.sequence].append(sampled.token)
        plan = StepPlan(decode=ids)
    assert_same_or_tied(loaded, prompt, rows[1], reference(loaded, prompt, 8))
    assert rows[3] == rows[1]
    assert rows[2] == alone
