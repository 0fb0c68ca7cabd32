"""What every Runner keeps that has an archive: what went to disk and came back is as if it had been read."""

from collections.abc import Callable

import pytest
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

from allod.core.ids import BlockName, SegmentId, SequenceId, TenantId
from allod.core.ports import Archive, Runner
from allod.core.step import BLOCK_TOKENS, Keep, Load, Prefill, Restore, StepPlan, Store
from allod.device.choose import choose
from allod.runner.masks import Masks
from allod.runner.probe import measure
from allod.runner.step import MlxRunner
from allod.testing.archive import FakeArchive
from allod.testing.models import tiny_facts
from allod.testing.runner import FakeRunner

Factory = Callable[[Archive], Runner]

LONG = tuple((7 * place + place // 9) % 83 + 1 for place in range(2 * BLOCK_TOKENS + 40))
KEPT = 2 * BLOCK_TOKENS + 20
NAMES = (BlockName("a"), BlockName("b"))


def mlx_runner(archive: Archive) -> Runner:
    loaded = random_model("llama")
    facts = measure(loaded, choose(DEVICE), 2**31, 2048)
    return MlxRunner(loaded.network, facts, Masks(byte_tokenizer(), facts.vocabulary), archive)


RUNNERS: dict[str, Factory] = {
    "fake": lambda archive: FakeRunner(tiny_facts(), archive=archive),
    "mlx, full attention": mlx_runner,
}


@pytest.fixture(params=RUNNERS.values(), ids=list(RUNNERS))
def make_runner(request: pytest.FixtureRequest) -> Factory:
    return request.param


def answered(runner: Runner, start: Restore | None = None, known: int = 0) -> list[int]:
    """What a row says to the prompt, read whole or behind what a state starts from."""
    if start is None:
        prefill(runner, 1, LONG)
    else:
        rest = Prefill(SequenceId(1), LONG[known:-1])
        runner.launch(StepPlan(restore=(start,), prefill=(rest,))).collect()
    tokens = said(steps(runner, (SequenceId(1),), 5, join(1, LONG, (1, GREEDY))), 1)
    runner.launch(StepPlan(release=(SequenceId(1),))).collect()
    return tokens


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
    expected = answered(first)
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
    assert answered(second, restore, end) == expected


def test_names_of_tenants_differ() -> None:
    """The fake archive keeps the rule that the real one keeps."""
    archive = FakeArchive()
    assert len(archive.names(TenantId("a"), LONG)) == 2
    assert not set(archive.names(TenantId("a"), LONG)) & set(archive.names(TenantId("b"), LONG))
