"""A load that knows what an earlier one tried serves a model in the same way, and tries nothing."""

import os
from pathlib import Path

import pytest
from msgspec import structs
from tests.scaffolding.families import DEVICE, write_random_model

from allod.core.step import ModelFacts
from allod.device.choose import choose
from allod.runner import agreement
from allod.runner.load import load
from allod.runner.network import Network
from allod.runner.probe import fitted, measure
from allod.runner.record import Measuring
from allod.runner.settings import RunnerSettings

BUDGET_BYTES = 2**31


def served(folder: Path, measuring: Measuring) -> tuple[ModelFacts, list[str]]:
    """What is known of a model that is loaded, and its networks from the outermost to the innermost."""
    platform = choose(DEVICE)
    loaded = load(folder, RunnerSettings(), platform, BUDGET_BYTES, measuring)
    trials = measuring.trials(folder, loaded)
    loaded = fitted(loaded, platform, trials)
    names: list[str] = []
    network: Network | None = loaded.network
    while network is not None:
        names.append(type(network).__name__)
        network = vars(network).get("_network")
    facts = measure(loaded, platform, BUDGET_BYTES, 2048, trials)
    return structs.replace(facts, weights_bytes=0), names  # which counts whatever else the process holds


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen3_next"])
def test_the_second_load_tries_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """And another checkpoint in its place is tried."""
    folder, measuring = tmp_path / "m", Measuring(tmp_path / "m.json", all_ways=False)
    write_random_model(family, folder)
    first = served(folder, measuring)
    tried: list[str] = []
    for name in [name for name in dir(agreement) if name.startswith("why_")]:
        trial = getattr(agreement, name)
        monkeypatch.setattr(agreement, name, lambda *given, n=name, t=trial: tried.append(n) or t(*given))
    assert served(folder, measuring) == first
    assert tried == []
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert served(folder, measuring) == first
    assert len(tried) == len(set(tried)) > 2
