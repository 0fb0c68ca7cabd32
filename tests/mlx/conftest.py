"""What tests of MLX's parts share."""

import pytest


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads take a rule for a measurement, which takes a second; tests put other timings in its place."""
    from tests.scaffolding.timings import foreseen

    monkeypatch.setattr("allod.runner.record.measure_products", foreseen)
