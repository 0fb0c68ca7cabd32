"""MLX tests compute with a real BLAS where the machine has one; it must be loaded before MLX is."""

import pytest

from allod.device import blas

blas.preload("auto")


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads take a rule for a measurement, which takes a second; tests put other timings in its place."""
    from tests.scaffolding.timings import foreseen

    monkeypatch.setattr("allod.runner.record.measure_products", foreseen)
