"""What tests of MLX's parts share."""

import pytest


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads take a rule for a measurement, which takes a second; tests put other timings in its place."""
    from tests.scaffolding.timings import foreseen

    monkeypatch.setattr("allod.runner.record.measure_products", foreseen)


@pytest.fixture(scope="module")
def grouped_llama(tmp_path_factory: pytest.TempPathFactory):
    """A small model whose rows can decode in groups, and its facts."""
    from tests.scaffolding.families import DEVICE, write_random_model
    from tests.scaffolding.timings import UNMEASURED

    from allod.device.choose import choose
    from allod.runner.load import load
    from allod.runner.probe import measure, with_groups
    from allod.runner.settings import RunnerSettings
    from allod.runner.trials import Trials

    budget_bytes, platform = 2**31, choose(DEVICE)
    folder = tmp_path_factory.mktemp("grouped") / "llama"
    write_random_model("llama", folder)
    loaded = with_groups(load(folder, RunnerSettings(), platform, budget_bytes, UNMEASURED), Trials())
    return loaded, measure(loaded, platform, budget_bytes, 2048)
