"""What is known to follow a prompt: its scores, kept with it, so that its first token waits for no pass."""

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from tests.scaffolding.families import DEVICE, write_random_model
from tests.scaffolding.timings import UNMEASURED

from allod.core.ids import SegmentId, SequenceId, TokenId
from allod.core.sampling import Sampling
from allod.core.step import Discard, Join, Keep, Prefill, Restore, Split, StepPlan
from allod.device.choose import choose
from allod.runner.caches import RowState
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.network import NetworkAround
from allod.runner.probe import measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner

pytestmark = pytest.mark.mlx

PROMPT = tuple(range(3, 23))
END = len(PROMPT) - 1
ROW, KEPT = SequenceId(1), SegmentId(7)
BUDGET_BYTES = 2**31


class Blind(NetworkAround):
    """A network that, once told so, scores nothing but token 0, whatever it reads."""

    is_blind = False

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        found = super().logits(tokens, state, places)
        return mx.where(mx.arange(found.shape[-1]) == 0, 1.0, 0.0 * found) if self.is_blind else found


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModel:
    write_random_model("llama", tmp_path / "m")
    return load(tmp_path / "m", RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED)


@pytest.fixture
def network(loaded: LoadedModel) -> Blind:
    return Blind(loaded.network)


@pytest.fixture
def runner(loaded: LoadedModel, network: Blind) -> MlxRunner:
    return MlxRunner(network, measure(loaded, choose(DEVICE), BUDGET_BYTES, 256))


def first_token(runner: MlxRunner, plan: StepPlan) -> TokenId:
    """Of a prompt that joins with this step; the row is let go afterwards."""
    join = Join(ROW, ((ROW, Sampling(temperature=0.0)),), PROMPT[-1], ())
    (sampled,) = runner.launch(replace(plan, join=(join,), decode=(ROW,))).collect().sampled
    runner.launch(StepPlan(release=(ROW,))).collect()
    return sampled.token


def read_and_keep(runner: MlxRunner) -> TokenId:
    return first_token(
        runner,
        StepPlan(prefill=(Prefill(ROW, PROMPT[:-1]),), keep_read=(Keep(KEPT, ROW, 0, END),)),
    )


def restored(*parts: tuple[SegmentId, int]) -> StepPlan:
    return StepPlan(restore=(Restore(ROW, parts),))


def test_the_first_token_of_a_known_prompt_waits_for_no_pass(runner: MlxRunner, network: Blind) -> None:
    """It comes of what was scored the first time, not of what the network would say now."""
    wanted = read_and_keep(runner)
    assert wanted != 0
    network.is_blind = True
    assert first_token(runner, restored((KEPT, END))) == wanted
    assert first_token(runner, restored((KEPT, END))) == wanted
    # Of the beginning of it nothing is known.
    assert first_token(runner, restored((KEPT, END - 1))) == 0


def test_it_goes_with_the_tail_when_what_was_kept_is_split(runner: MlxRunner, network: Blind) -> None:
    """The prompt still ends there."""
    wanted = read_and_keep(runner)
    head, tail = SegmentId(8), SegmentId(9)
    runner.launch(StepPlan(keep=(Split(KEPT, 5, head, tail),))).collect()
    network.is_blind = True
    assert first_token(runner, restored((head, 5), (tail, END - 5))) == wanted
    assert first_token(runner, restored((head, 5))) == 0


def test_it_is_forgotten_with_what_was_kept(runner: MlxRunner, network: Blind) -> None:
    """A segment of the same name knows nothing of the one before."""
    read_and_keep(runner)
    runner.launch(StepPlan(keep=(Discard(KEPT),))).collect()
    runner.launch(StepPlan(prefill=(Prefill(ROW, PROMPT[:-1]),))).collect()
    runner.launch(StepPlan(keep=(Keep(KEPT, ROW, 0, END),))).collect()
    runner.launch(StepPlan(release=(ROW,))).collect()
    network.is_blind = True
    assert first_token(runner, restored((KEPT, END))) == 0
