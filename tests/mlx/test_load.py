"""Loading: no code, no lie about memory, no wired limit; what was taken is given back."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest
from tests.scaffolding.defaults import environment
from tests.scaffolding.families import DEVICE, FAMILIES, write_random_model
from tests.scaffolding.memory import held_bytes
from tests.scaffolding.timings import UNMEASURED

from allod.core.ids import SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, Prefill, StepPlan
from allod.device.choose import choose
from allod.runner.load import CannotLoad, load
from allod.runner.probe import measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner

pytestmark = pytest.mark.mlx

BUDGET_BYTES = 2**31
REUSE_SLACK_BYTES = 4096
"""MLX counts the buffer it hands out, which may be a little larger than what was asked for."""

LOAD = """\
import sys
from pathlib import Path
from allod.device.choose import choose
from allod.runner.load import load
from allod.runner.probe import fitted, measure
from allod.runner.record import Measuring
from allod.runner.settings import RunnerSettings

folder, kind, budget_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
platform = choose(kind)
loaded = fitted(load(folder, RunnerSettings(), platform, budget_bytes, Measuring(all_ways=False)), platform)
facts = measure(loaded, platform, budget_bytes, 2048)
print(facts.alone_because, facts.unkept_because, facts.unstored_because)
print(facts.batchable, facts.reads_together, loaded.groups_rows)
"""


@pytest.mark.parametrize("key", ["model_file", "auto_map", "trust_remote_code"])
def test_a_checkpoint_that_asks_for_code_is_refused_before_any_library_reads_it(
    tmp_path: Path, key: str
) -> None:
    """The reason names the key, and the planted module is not run."""
    write_random_model("llama", tmp_path / "m")
    marker = tmp_path / "ran"
    (tmp_path / "m" / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    config = {**FAMILIES["llama"], key: "evil.py"}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CannotLoad, match=key):
        load(tmp_path / "m", RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED)
    assert not marker.exists()


def test_a_model_beyond_the_budget_is_refused_with_the_numbers(tmp_path: Path) -> None:
    """Nothing is evaluated: the refusal comes from the headers."""
    write_random_model("llama", tmp_path / "m")
    with pytest.raises(CannotLoad, match=r"budget is 0\.00 GiB"):
        load(tmp_path / "m", RunnerSettings(), choose(DEVICE), 1000)


def test_an_unknown_family_is_refused_by_name(tmp_path: Path) -> None:
    """mlx-lm's own words reach the user."""
    write_random_model("llama", tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps({**FAMILIES["llama"], "model_type": "nonesuch"}))
    with pytest.raises(CannotLoad, match="nonesuch"):
        load(tmp_path / "m", RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED)


@pytest.mark.skipif(DEVICE == "cpu", reason="a CPU multiplies float32 as it is")
def test_products_as_a_gpu_makes_them_pass_the_trials(tmp_path: Path) -> None:
    """The tests here have all digits of float32; a worker has those that MLX takes, and its model passes."""
    write_random_model("llama", tmp_path / "m")
    asked = [sys.executable, "-c", LOAD, str(tmp_path / "m"), DEVICE, str(BUDGET_BYTES)]
    told = subprocess.run(asked, env=environment(), capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["True"] * 3, told.stderr


def test_the_wired_limit_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load, probe, prefill, decode, release: not one call to mx.set_wired_limit."""
    calls: list[int] = []
    monkeypatch.setattr(mx, "set_wired_limit", calls.append)
    write_random_model("llama", tmp_path / "m")
    run_requests(make_runner(tmp_path / "m"), rounds=2)
    assert calls == []


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen3_next", "mamba", "deepseek_v3"])
def test_active_bytes_return_to_where_they_were(tmp_path: Path, family: str) -> None:
    """After rounds of requests with penalties, forks and releases, MLX holds what it held before."""
    write_random_model(family, tmp_path / "m")
    runner = make_runner(tmp_path / "m")
    run_requests(runner, rounds=2)
    gc.collect()  # layers that were replaced, here or in an earlier test, must not be freed meanwhile
    before = held_bytes(runner)
    run_requests(runner, rounds=20)
    assert abs(held_bytes(runner) - before) <= REUSE_SLACK_BYTES


def test_facts_predict_the_bytes_of_a_state(tmp_path: Path) -> None:
    """Bytes per token, measured once, give the exact size of a longer full-attention state."""
    write_random_model("llama", tmp_path / "m")
    runner = make_runner(tmp_path / "m")
    gc.collect()
    before = held_bytes(runner)
    for _ in range(4):
        runner.launch(StepPlan(prefill=(Prefill(SequenceId(1), tuple(range(1, 129))),))).collect()
    grown = held_bytes(runner) - before
    (layer,) = runner.facts.layers
    assert grown == layer.bytes_per_token * 512
    runner.launch(StepPlan(release=(SequenceId(1),))).collect()
    assert held_bytes(runner) == before


def make_runner(folder: Path) -> MlxRunner:
    loaded = load(folder, RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED)
    return MlxRunner(loaded.network, measure(loaded, choose(DEVICE), BUDGET_BYTES, 2048))


def run_requests(runner: MlxRunner, rounds: int) -> None:
    rules = Sampling(temperature=1.0, seed=1, frequency_penalty=0.5, top_logprobs=2)
    for turn in range(rounds):
        ids = tuple(SequenceId(10 * turn + offset) for offset in range(3))
        prompt = tuple(range(1, 30 + turn))
        runner.launch(StepPlan(prefill=(Prefill(ids[0], prompt[:-1]),))).collect()
        fork = Join(ids[0], tuple((sequence, rules) for sequence in ids), prompt[-1], prompt)
        runner.launch(StepPlan(join=(fork,), decode=ids)).collect()
        runner.launch(StepPlan(release=ids[:1], decode=ids[1:])).collect()
        runner.launch(StepPlan(release=ids[1:])).collect()
