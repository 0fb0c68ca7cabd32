"""What every Runner keeps that has an archive: what went to disk and came back is as if it had been read."""

from collections.abc import Callable
from functools import cache, partial

import pytest
from msgspec.structs import replace
from tests.contract.test_runner_contract import (
    GREEDY,
    byte_tokenizer,
    join,
    prefill,
    random_model,
    said,
    steps,
)
from tests.scaffolding.families import DEVICE

from allod.core.blocks import BLOCK_TOKENS, Load, Store
from allod.core.ids import BlockName, SegmentId, SequenceId
from allod.core.ports import Archive, Runner
from allod.core.step import Discard, Keep, LayerState, ModelFacts, Prefill, Restore, StepPlan
from allod.device.choose import choose
from allod.engine.scheduler import Scheduler
from allod.engine.settings import EngineSettings
from allod.runner.masks import Masks
from allod.runner.probe import measure
from allod.runner.step import MlxRunner
from allod.testing.archive import FakeArchive
from allod.testing.models import submission, tiny_facts
from allod.testing.runner import FakeRunner

Factory = Callable[[Archive], Runner]

LONG = tuple((7 * place + place // 9) % 83 + 1 for place in range(2 * BLOCK_TOKENS + 40))
KEPT = 2 * BLOCK_TOKENS + 20
NAMES = (BlockName("a"), BlockName("b"))
TIP = BlockName("tip")


def mlx_runner(family: str, archive: Archive) -> Runner:
    loaded = random_model(family)
    facts = measured(family)
    return MlxRunner(loaded.network, facts, Masks(byte_tokenizer(), facts.vocabulary), archive)


@cache
def measured(family: str) -> ModelFacts:
    facts = measure(random_model(family), choose(DEVICE), 2**31, 2048)
    assert facts.unstored_because == ""
    return facts


def fake(*layers: LayerState) -> Factory:
    return lambda archive: FakeRunner(tiny_facts(layers=layers), archive=archive)


FULL = LayerState("full", 1, bytes_per_token=10, fixed_bytes=0, window_tokens=None)
WINDOW = LayerState("sliding", 1, bytes_per_token=3, fixed_bytes=0, window_tokens=24)
RECURRENT = LayerState("recurrent", 1, bytes_per_token=0, fixed_bytes=70, window_tokens=None)

ANYWHERE: dict[str, Factory] = {
    "fake": fake(FULL),
    "mlx, full attention": partial(mlx_runner, "llama"),
    "mlx, latent attention": partial(mlx_runner, "deepseek_v3"),
}
AT_TIPS: dict[str, Factory] = {
    "fake, window": fake(FULL, WINDOW),
    "fake, recurrent": fake(FULL, RECURRENT),
    "fake, nothing grows": fake(RECURRENT),
    "mlx, window": partial(mlx_runner, "gemma3_text"),
    "mlx, window and sinks": partial(mlx_runner, "gpt_oss"),
    "mlx, recurrent": partial(mlx_runner, "qwen3_next"),
    "mlx, nothing grows": partial(mlx_runner, "mamba"),
    "mlx, nothing grows, the other way": partial(mlx_runner, "mamba2"),
}
EVERY = ANYWHERE | AT_TIPS


@pytest.fixture(params=ANYWHERE.values(), ids=list(ANYWHERE))
def make_runner(request: pytest.FixtureRequest) -> Factory:
    """Of a model that can go on anywhere."""
    return request.param


@pytest.fixture(params=AT_TIPS.values(), ids=list(AT_TIPS))
def make_tipped(request: pytest.FixtureRequest) -> Factory:
    """Of a model that can go on where a tip is."""
    return request.param


def answered(
    runner: Runner, start: Restore | None = None, known: int = 0, prompt: tuple[int, ...] = LONG
) -> list[int]:
    """What a row says to the prompt, read whole or behind what a state starts from."""
    if start is None:
        prefill(runner, 1, prompt)
    else:
        rest = Prefill(SequenceId(1), prompt[known:-1])
        runner.launch(StepPlan(restore=(start,), prefill=(rest,))).collect()
    tokens = said(steps(runner, (SequenceId(1),), 5, join(1, prompt, (1, GREEDY))), 1)
    runner.launch(StepPlan(release=(SequenceId(1),))).collect()
    return tokens


@cache
def plain(make: Factory) -> list[int]:
    """What a fresh runner says to the prompt that it has read itself; said once."""
    return answered(make(FakeArchive()))


def store(runner: Runner, archive: FakeArchive) -> None:
    """Read the prompt, keep it in two segments that end within a block, and store its whole blocks."""
    prefill(runner, 1, LONG)
    cut = 100
    keeps = (
        Keep(SegmentId(7), SequenceId(1), 0, cut),
        Keep(SegmentId(8), SequenceId(1), cut, KEPT),
    )
    runner.launch(StepPlan(keep=keeps, release=(SequenceId(1),))).collect()
    stores = (
        Store(NAMES[0], ((SegmentId(7), 0, cut), (SegmentId(8), 0, BLOCK_TOKENS - cut))),
        Store(NAMES[1], ((SegmentId(8), BLOCK_TOKENS - cut, 2 * BLOCK_TOKENS - cut),)),
    )
    runner.launch(StepPlan(restore=stores)).collect()
    assert set(archive.blocks) == set(NAMES)


@pytest.mark.parametrize("start", [0, 100, BLOCK_TOKENS])
def test_what_comes_back_from_disk_is_as_if_it_had_been_read(make_runner: Factory, start: int) -> None:
    """In another process, from a block's start or from within one, behind what it has read itself."""
    archive = FakeArchive()
    first = make_runner(archive)
    store(first, archive)
    assert answered(first) == plain(make_runner)
    second = make_runner(archive)
    parts: tuple[tuple[SegmentId, int], ...] = ()
    if start:
        prefill(second, 2, LONG[: start + 1])
        keep = Keep(SegmentId(1), SequenceId(2), 0, start)
        second.launch(StepPlan(keep=(keep,), release=(SequenceId(2),))).collect()
        parts = ((SegmentId(1), start),)
    names = NAMES[start // BLOCK_TOKENS :]
    for name in names:
        assert archive.fetch(name) is not None
    end = 2 * BLOCK_TOKENS
    second.launch(StepPlan(restore=(Load(SegmentId(2), start, end, names),))).collect()
    restore = Restore(SequenceId(1), (*parts, (SegmentId(2), end - start)))
    assert answered(second, restore, end) == plain(make_runner)


@cache
def stored_tip(make: Factory, position: int) -> dict[BlockName, bytes]:
    """What an archive holds of a prompt that was read up to there, kept in two segments, and of its tip."""
    archive = FakeArchive()
    runner = make(archive)
    cut, whole = 100, position - position % BLOCK_TOKENS
    prefill(runner, 1, LONG[: cut + 1])
    first = Keep(SegmentId(7), SequenceId(1), 0, cut, tip=True)
    rest = Prefill(SequenceId(1), LONG[cut:position])
    runner.launch(StepPlan(keep=(first,), prefill=(rest,))).collect()
    second = Keep(SegmentId(8), SequenceId(1), cut, position, tip=True)
    runner.launch(StepPlan(keep=(second,), release=(SequenceId(1),))).collect()
    blocks = (
        Store(NAMES[0], ((SegmentId(7), 0, cut), (SegmentId(8), 0, BLOCK_TOKENS - cut))),
        Store(NAMES[1], ((SegmentId(8), BLOCK_TOKENS - cut, 2 * BLOCK_TOKENS - cut),)),
    )
    behind = ((SegmentId(8), whole - cut, position - cut),) if position > whole else ()
    if not grows(runner):
        behind, blocks = ((SegmentId(7), 0, cut), (SegmentId(8), 0, position - cut)), ()
    tip = Store(TIP, behind, SegmentId(8))
    runner.launch(StepPlan(restore=(*blocks[: position // BLOCK_TOKENS], tip))).collect()
    return archive.blocks


def grows(runner: Runner) -> bool:
    return any(layer.is_growing for layer in runner.facts.layers)


@pytest.mark.parametrize(
    ("position", "start"),
    [
        (BLOCK_TOKENS, 0),
        (2 * BLOCK_TOKENS - 1, 0),
        (2 * BLOCK_TOKENS - 1, "all"),
        (2 * BLOCK_TOKENS, 100),
        (KEPT, 100),
        (KEPT, "all"),
    ],
)
def test_a_tip_comes_back_as_if_it_had_been_read(
    make_tipped: Factory, position: int, start: int | str
) -> None:
    """In another process, within a block or at its end, behind what it has read itself or in its place."""
    archive = FakeArchive()
    archive.blocks |= stored_tip(make_tipped, position)
    runner = make_tipped(archive)
    known = position if start == "all" else int(start)
    steps: list[Keep | Discard | Load] = []
    parts: tuple[tuple[SegmentId, int], ...] = ()
    if known:
        prefill(runner, 2, LONG[: known + 1])
        keep = Keep(SegmentId(1), SequenceId(2), 0, known, tip=True)
        runner.launch(StepPlan(keep=(keep,), release=(SequenceId(2),))).collect()
        steps.append(Discard(SegmentId(1), tip_only=True))
        parts = ((SegmentId(1), known),)
    names = NAMES[known // BLOCK_TOKENS : position // BLOCK_TOKENS] if grows(runner) else ()
    for name in (*names, TIP):
        assert archive.fetch(name) is not None
    segment = SegmentId(1) if known == position else SegmentId(2)
    steps.append(Load(segment, known, position, names, TIP))
    runner.launch(StepPlan(restore=tuple(steps))).collect()
    if known < position:
        parts = (*parts, (segment, position - known))
    for _ in range(2):  # a tip serves more than once
        assert answered(runner, Restore(SequenceId(1), parts), position) == plain(make_tipped)


def test_the_tip_of_a_row_comes_back(make_tipped: Factory) -> None:
    """What a row of a batch has said is gone on with in another process, as if it had been read."""
    archive, short = FakeArchive(), (5, 3, 11, 2, 7)
    first, rows = make_tipped(archive), (SequenceId(1), SequenceId(2))
    prefill(first, 1, LONG)
    prefill(first, 2, short)
    results = steps(first, rows, 5, join(1, LONG, (1, GREEDY)), join(2, short, (2, GREEDY)))
    read = (*LONG, *said(results, 1)[:-1])
    keep = Keep(SegmentId(7), SequenceId(1), 0, len(read), tip=True)
    start = 2 * BLOCK_TOKENS if grows(first) else 0
    stores = [
        Store(name, ((SegmentId(7), place * BLOCK_TOKENS, (place + 1) * BLOCK_TOKENS),))
        for place, name in enumerate(NAMES[: start // BLOCK_TOKENS])
    ]
    tip = Store(TIP, ((SegmentId(7), start, len(read)),), SegmentId(7))
    first.launch(StepPlan(keep=(keep,), release=rows, restore=(*stores, tip))).collect()
    second = make_tipped(archive)
    for name in archive.blocks:
        assert archive.fetch(name) is not None
    load = Load(SegmentId(1), 0, len(read), tuple(each.name for each in stores), TIP)
    second.launch(StepPlan(restore=(load,))).collect()
    prompt = (*read, 9, 4, 6)
    restore = Restore(SequenceId(1), ((SegmentId(1), len(read)),))
    assert answered(second, restore, len(read), prompt) == answered(second, prompt=prompt)


def conversation(runner: Runner, archive: FakeArchive | None, turns: int) -> tuple[list[list[int]], int]:
    """What a scheduler and a runner say to questions that begin alike, and how many tokens were read."""
    engine = Scheduler(runner.facts, EngineSettings(), archive)
    answers: list[list[int]] = []
    read_tokens = 0
    for number in range(turns):
        tokens = (*LONG, number % 2 + 1, *LONG[number : number + 9])
        asked = replace(submission(first=10 * number, max_tokens=5), tokens=tokens, boundaries=(len(LONG),))
        engine.submit(asked, 0.0)
        answers.append([])
        while not (plan := engine.plan()).is_empty:
            result = runner.launch(plan).collect()
            stepped = engine.commit(plan, result, 0.0)
            read_tokens += len(plan.prefill[0].tokens) if plan.prefill else 0
            answers[-1] += [token for emission in stepped.emissions for token in emission.tokens]
    return answers, read_tokens


@pytest.mark.parametrize("make", EVERY.values(), ids=list(EVERY))
def test_answers_behind_a_restart_are_as_without_a_disk(make: Factory) -> None:
    """Whatever its layers are, a model reads what is new, and says what it would have said."""
    archive = FakeArchive()
    without, _ = conversation(make(FakeArchive()), None, 4)
    first, read = conversation(make(archive), archive, 4)
    again, read_again = conversation(make(archive), archive, 4)
    assert first == again == without
    assert read - read_again >= 2 * BLOCK_TOKENS
