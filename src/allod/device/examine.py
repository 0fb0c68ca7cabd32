"""What this machine has for a model, for people. A BLAS must be in the process before this is imported."""

import shutil
import sys

from allod.device.base import Examination, budget_bytes
from allod.device.choose import choose
from allod.device.cpu import CpuPlatform
from allod.device.settings import DeviceSettings

COMPILER = "g++" if sys.platform == "linux" else "c++"
"""What MLX calls on the CPU to fuse operations; without it they run one by one."""


def examine(settings: DeviceSettings, workers: int) -> Examination:
    """Look at the machine.

    Args:
        settings: which device, and how much of it.
        workers: how many may be there at once.

    Raises:
        ValueError: there is no such device here, or less memory than the budget.
    """
    platform = choose(settings.kind)
    return Examination(
        device=platform.description,
        memory_bytes=platform.memory_bytes(),
        budget_bytes=budget_bytes(platform, settings.memory_budget_bytes, workers),
        is_cpu=isinstance(platform, CpuPlatform),
        compiler=shutil.which(COMPILER),
    )
