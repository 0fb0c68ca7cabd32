"""A draft model beside a model: loaded where there is room, and never another text."""

import gc
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.scaffolding.families import DEVICE, write_random_model
from tests.scaffolding.memory import active_bytes
from tests.scaffolding.timings import UNMEASURED

from allod.core.sampling import Sampling
from allod.core.step import ModelFacts
from allod.device.choose import choose
from allod.engine.scheduler import Scheduler
from allod.engine.settings import EngineSettings
from allod.runner.drafting import Drafter
from allod.runner.load import load, load_text
from allod.runner.loaded import LoadedModel, gib
from allod.runner.pairing import DraftWishes, pair
from allod.runner.probe import measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner
from allod.testing.models import submission

pytestmark = pytest.mark.mlx

BUDGET_BYTES = 2**31
PROMPT = tuple((7 * place) % 283 + 1 for place in range(90))


def wishes(folder: Path) -> DraftWishes:
    return DraftWishes(folder, 1024, RunnerSettings(), choose(DEVICE), UNMEASURED, 512)


def model(
    folder: Path, family: str = "llama", budget_bytes: int = BUDGET_BYTES
) -> tuple[LoadedModel, ModelFacts]:
    """A loaded model and its facts."""
    write_random_model(family, folder)
    loaded = load(folder, RunnerSettings(), choose(DEVICE), budget_bytes, UNMEASURED)
    return loaded, measure(loaded, choose(DEVICE), budget_bytes, 2048)


def test_the_facts_are_those_of_both(tmp_path: Path) -> None:
    """Weights are counted together; what the draft model takes is measured on it."""
    _, facts = model(tmp_path / "m")
    write_random_model("qwen3", tmp_path / "d", changes={"num_hidden_layers": 1})
    both, drafter = pair(facts, wishes(tmp_path / "d"))
    assert drafter is not None
    assert both.draft is not None
    assert both.unpaired_because == ""
    assert both.weights_bytes == facts.weights_bytes + both.draft.weights_bytes
    size_bytes = (tmp_path / "d" / "model.safetensors").stat().st_size
    assert 0.9 * size_bytes < both.draft.weights_bytes < 1.2 * size_bytes
    (layer,) = both.draft.layers
    # One layer with two key heads of 16, keys and values.
    assert layer.bytes_per_token == 2 * 2 * 16 * 4
    assert both.draft.context_tokens == 1024
    assert both.draft.saying_seconds > 0
    assert both.draft.reading_seconds_per_token > 0


def test_what_is_freed_meanwhile_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was replaced before may be freed at any time; the draft model takes what it takes."""
    _, facts = model(tmp_path / "m")
    write_random_model("qwen3", tmp_path / "d", changes={"num_hidden_layers": 1})
    wanted, _ = pair(facts, wishes(tmp_path / "d"))
    assert wanted.draft is not None

    def loading(*given: Any) -> LoadedModel:
        gc.collect()
        return load_text(*given)

    monkeypatch.setattr("allod.runner.pairing.load_text", loading)
    gc.disable()
    try:
        model(tmp_path / "replaced")
        found, _ = pair(facts, wishes(tmp_path / "d"))
    finally:
        gc.enable()
    assert found.draft is not None
    assert found.draft.weights_bytes == wanted.draft.weights_bytes


@pytest.mark.parametrize(
    ("family", "draft", "words"),
    [
        ("llama", "gemma3_text", "d cannot follow a model: its RotatingKVCache cannot take back"),
        ("llama", "mamba", "d cannot follow a model: its ArraysCache cannot take back"),
        ("gemma3_text", "llama", "the model takes no drafts: its RotatingKVCache cannot take back"),
    ],
)
def test_states_that_keep_what_they_took_in_are_refused(
    tmp_path: Path, family: str, draft: str, words: str
) -> None:
    """On either side, with the reason; the model is served without."""
    _, facts = model(tmp_path / "m", family)
    write_random_model(draft, tmp_path / "d")
    told, drafter = pair(facts, wishes(tmp_path / "d"))
    assert drafter is None
    assert words in told.unpaired_because
    assert told == structs.replace(facts, unpaired_because=told.unpaired_because)


def test_one_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    """A quarter of the budget stays for sequences; the reason has the numbers, and nothing is held."""
    _, facts = model(tmp_path / "m")
    write_random_model("llama", tmp_path / "d")
    gc.collect()
    before_bytes = active_bytes()
    size_bytes = (tmp_path / "d" / "model.safetensors").stat().st_size
    tight = structs.replace(facts, budget_bytes=int((facts.weights_bytes + size_bytes) / 0.75) - 1000)
    told, drafter = pair(tight, wishes(tmp_path / "d"))
    assert drafter is None
    budget = (
        f"three quarters of this worker's budget of {gib(tight.budget_bytes)} (device.memory_budget_bytes)"
    )
    assert budget in told.unpaired_because
    gc.collect()
    assert active_bytes() <= before_bytes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (None, "there is no model d here any more; name another one with `allod models draft`"),
        ({"model_type": "nonesuch"}, "d does not load beside it: mlx-lm cannot load this checkpoint"),
        ({"model_file": "evil.py"}, "allod runs none from a checkpoint"),
    ],
)
def test_one_that_is_gone_or_broken_is_left_out(
    tmp_path: Path, changes: dict[str, object] | None, words: str
) -> None:
    """A pairing never keeps a model from being served."""
    _, facts = model(tmp_path / "m")
    if changes is not None:
        write_random_model("llama", tmp_path / "d")
        config = (tmp_path / "d" / "config.json").read_text()
        for name, value in changes.items():
            config = config.replace('"model_type": "llama"', f'"model_type": "llama", "{name}": "{value}"')
        (tmp_path / "d" / "config.json").write_text(config)
    told, drafter = pair(facts, wishes(tmp_path / "d"))
    assert drafter is None
    assert words in told.unpaired_because


def spoken(runner: MlxRunner, facts: ModelFacts, sampling: Sampling) -> tuple[list[int], tuple[int, int]]:
    """A long answer by engine and runner with a step in flight, and how much was guessed and accepted."""
    scheduler = Scheduler(facts, EngineSettings())
    scheduler.submit(submission(tokens=PROMPT, samplings=(sampling,), max_tokens=120), 0.0)
    airborne, tokens = None, list[int]()
    while not scheduler.idle or airborne:
        plan = scheduler.plan()
        launched = None if plan.is_empty else (plan, runner.launch(plan))
        if airborne is not None:
            stepped = scheduler.commit(airborne[0], airborne[1].collect(), 0.0)
            tokens += [token for each in stepped.emissions for token in each.tokens]
        airborne = launched
    return tokens, scheduler.occupancy().guessed


def believed_free(facts: ModelFacts) -> ModelFacts:
    """What is believed to cost nothing is tried."""
    assert facts.draft is not None
    free = structs.replace(facts.draft, saying_seconds=0.0, reading_seconds_per_token=0.0)
    return structs.replace(facts, draft=free)


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(temperature=1.0, seed=11)])
@pytest.mark.parametrize("is_itself", [True, False])
def test_answers_are_those_without_drafts(tmp_path: Path, sampling: Sampling, is_itself: bool) -> None:
    """A model that drafts for itself is always right, one with other weights practically never."""
    loaded, facts = model(tmp_path / "m")
    write_random_model("llama", tmp_path / "d", seed=7 if is_itself else 8)
    both, drafter = pair(facts, wishes(tmp_path / "d"))
    both = believed_free(both)
    plain, none = spoken(MlxRunner(loaded.network, facts), facts, sampling)
    guessed, (drafted, accepted) = spoken(MlxRunner(loaded.network, both, drafter=drafter), both, sampling)
    assert guessed == plain
    assert len(plain) == 120
    assert none == (0, 0)
    assert drafted > 0
    assert accepted == drafted if is_itself else accepted <= 0.1 * drafted


def test_a_token_that_only_the_model_has_is_read_as_another(tmp_path: Path) -> None:
    """The draft model looks up no row that its embedding does not have."""
    loaded, facts = model(tmp_path / "m")
    write_random_model("llama", tmp_path / "d", changes={"vocab_size": 50})
    draft = load(tmp_path / "d", RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED)
    both = believed_free(pair(facts, wishes(tmp_path / "d"))[0])
    assert max(PROMPT) > 50
    runner = MlxRunner(loaded.network, both, drafter=Drafter(draft.network, 50))
    sampling = Sampling(temperature=0.0)
    said, (drafted, _) = spoken(runner, both, sampling)
    assert drafted > 0
    assert said == spoken(MlxRunner(loaded.network, facts), facts, sampling)[0]
