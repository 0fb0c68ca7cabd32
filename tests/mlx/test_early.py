"""Chunks that are handed to the device while their graph is built; first tokens before what is kept."""

from pathlib import Path

import mlx.core as mx
import pytest
from tests.scaffolding.families import DEVICE, VOCABULARY, write_random_model
from tests.scaffolding.timings import UNMEASURED

from allod.core.ids import SegmentId, SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, Keep, Prefill, Restore, StepPlan
from allod.device.choose import choose
from allod.runner import early
from allod.runner.early import EarlyNetwork
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.probe import measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner

pytestmark = pytest.mark.mlx

BUDGET_BYTES = 2**31
PROMPT = tuple((7 * place) % VOCABULARY for place in range(40))
GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp("early") / request.param
    write_random_model(request.param, folder)
    return load(folder, RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was handed to the device."""
    found: list[object] = []
    before = mx.async_eval
    monkeypatch.setattr(early, "_PRODUCTS", 3)
    monkeypatch.setattr(mx, "async_eval", lambda *arrays: (found.extend(arrays), before(*arrays)))
    return found


def test_a_chunk_is_begun_while_its_graph_is_built(loaded: LoadedModel, begun: list[object]) -> None:
    """Several times, and it scores the same to the bit."""
    plain, eager = loaded.network, EarlyNetwork(loaded.network)
    chunk = mx.array([PROMPT])
    expected = plain.logits(chunk, plain.make_state())
    assert not begun
    found = eager.logits(chunk, eager.make_state())
    assert len(begun) > 1
    assert mx.array_equal(found, expected)


def test_a_decode_step_is_not(loaded: LoadedModel, begun: list[object]) -> None:
    """The device is busy with the step before."""
    eager = EarlyNetwork(loaded.network)
    eager.logits(mx.array([[3], [5]]), eager.make_state())
    assert not begun


def test_a_first_token_does_not_wait_for_what_is_kept(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on its way before the prompt is copied, and what was copied is the prompt."""
    runner = MlxRunner(loaded.network, measure(loaded, choose(DEVICE), BUDGET_BYTES, 2048))
    order: list[str] = []

    def noting(owner: object, name: str) -> None:
        own = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given: (order.append(name), own(*given))[1])

    noting(runner, "_choose")
    noting(runner._shelf, "keep")
    first, second, kept = SequenceId(1), SequenceId(2), SegmentId(1)
    end = len(PROMPT) - 1
    joined = Join(first, ((first, GREEDY),), PROMPT[-1], ())
    keep = Keep(kept, first, 0, end, tip=True)
    prefill = Prefill(first, PROMPT[:-1])
    plan = StepPlan(prefill=(prefill,), join=(joined,), keep_read=(keep,), decode=(first,))
    (said,) = runner.launch(plan).collect().sampled
    assert order == ["_choose", "keep"]
    runner.launch(StepPlan(release=(first,), restore=(Restore(second, ((kept, end),)),))).collect()
    again = Join(second, ((second, GREEDY),), PROMPT[-1], ())
    (repeated,) = runner.launch(StepPlan(join=(again,), decode=(second,))).collect().sampled
    assert repeated.token == said.token
