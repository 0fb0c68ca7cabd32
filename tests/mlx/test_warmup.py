"""Warming up takes every kind of step, and leaves nothing behind."""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import mlx.core as mx
import pytest
from tests.scaffolding.families import DEVICE, write_random_model
from tests.scaffolding.memory import active_bytes
from tests.scaffolding.timings import UNMEASURED

from allod.core.ports import Flight
from allod.core.step import ModelFacts, StepPlan
from allod.device.choose import choose
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.padding import PaddedNetwork
from allod.runner.probe import measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner
from allod.runner.warmup import time_chunk, time_saying, warm_up, warm_up_alone

ROWS = 5
CONTEXT_TOKENS = 600
CHUNK_TOKENS = 100


@cache
def random_model(family: str) -> LoadedModel:
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(family, Path(folder) / family)
        return load(Path(folder) / family, RunnerSettings(), choose(DEVICE), 2**31, UNMEASURED)


class Watched(MlxRunner):
    """A runner that notes what it launched."""

    def __init__(self, network: PaddedNetwork, facts: ModelFacts) -> None:
        super().__init__(network, facts)
        self.plans: list[StepPlan] = []

    def launch(self, plan: StepPlan) -> Flight:
        self.plans.append(plan)
        return super().launch(plan)


@contextmanager
def attended() -> Iterator[set[tuple[int, int]]]:
    """The pairs of queries and keys that come up meanwhile."""
    pairs: set[tuple[int, int]] = set()
    fused = mx.fast.scaled_dot_product_attention

    def note(queries: mx.array, keys: mx.array, *rest: mx.array, **named: object) -> mx.array:
        pairs.add((queries.shape[2], keys.shape[2]))
        return fused(queries, keys, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx.fast, "scaled_dot_product_attention", note)
        yield pairs


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_every_kind_of_step_is_taken_and_nothing_is_left(family: str) -> None:
    """All pairs of chunk and context and all numbers of rows come up; then memory is as it was."""
    loaded = random_model(family)
    network = PaddedNetwork(loaded.network)
    runner = Watched(network, measure(loaded, choose(DEVICE), 2**31, CONTEXT_TOKENS))
    fractions: list[float] = []
    gc.collect()  # what earlier tests left must not be freed meanwhile
    mx.clear_cache()
    before = active_bytes()
    with attended() as pairs:
        warm_up(network, runner, CHUNK_TOKENS, ROWS, fractions.append)
    assert {(32, 32), (64, 64), (128, 128), (32, 512), (64, 512), (128, 512)} <= pairs
    assert [len(plan.decode) for plan in runner.plans if plan.decode] == [*range(1, ROWS + 1), 3, ROWS, 1]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert active_bytes() - before <= 64 * 2**10


def test_a_chunk_is_timed_and_forgotten() -> None:
    """The length is one that was read, the time is not nothing, and memory is as it was."""
    loaded = random_model("llama")
    gc.collect()  # what earlier tests left must not be freed meanwhile
    mx.clear_cache()
    before = active_bytes()
    tokens, seconds = time_chunk(loaded.network, 300)
    assert tokens in (32, 64, 128, 256)
    assert 0 < seconds < 60
    assert time_chunk(loaded.network, 20)[0] == 20
    assert active_bytes() == before


def test_what_follows_one_row_takes_all_its_shapes() -> None:
    """Chunks at all contexts, and single tokens; then memory is as it was."""
    network = PaddedNetwork(random_model("llama").network)
    gc.collect()  # what earlier tests left must not be freed meanwhile
    mx.clear_cache()
    before = active_bytes()
    with attended() as pairs:
        warm_up_alone(network, CHUNK_TOKENS, CONTEXT_TOKENS)
    assert {(32, 32), (64, 64), (128, 128), (32, 512), (64, 512), (128, 512), (1, 256), (1, 512)} <= pairs
    assert active_bytes() - before <= 64 * 2**10


def test_saying_is_timed_and_forgotten() -> None:
    """The time is not nothing, and memory is as it was."""
    network = random_model("llama").network
    gc.collect()  # what earlier tests left must not be freed meanwhile
    mx.clear_cache()
    before = active_bytes()
    assert 0 < time_saying(network) < 60
    assert active_bytes() == before
