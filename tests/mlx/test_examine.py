"""The machine as workers find it, for people."""

from typing import Any, cast

import pytest
from tests.scaffolding.families import DEVICE

from allod.device.base import GIB
from allod.device.choose import choose
from allod.device.examine import examine
from allod.device.settings import DeviceSettings

pytestmark = pytest.mark.mlx

KIND = cast("Any", DEVICE)


def test_it_is_what_a_worker_would_get() -> None:
    """The device that would be chosen, and each worker's part of the budget."""
    found = examine(DeviceSettings(kind=KIND, memory_budget_bytes=GIB), 2)
    assert found.device == choose(DEVICE).description
    assert found.budget_bytes == GIB // 2
    assert found.memory_bytes >= GIB
    assert found.is_cpu == (DEVICE == "cpu")


def test_a_budget_beyond_the_machine_is_refused() -> None:
    """As a worker refuses it."""
    with pytest.raises(ValueError, match="memory_budget_bytes"):
        examine(DeviceSettings(kind=KIND, memory_budget_bytes=10**18), 1)
