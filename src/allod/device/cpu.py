"""A machine without a GPU that MLX can use."""

import os
import platform

from allod.device.base import ComputeForm, beside_the_system


class CpuPlatform:
    """The CPU backend of MLX.

    Its quantised product gains nothing from more rows and uses no BLAS, so weights are unpacked to
    float32, for which a real BLAS exists (see `blas`).
    """

    preferred_form = ComputeForm(dense=True, dtype="float32")
    fuses_attention = False
    attention_strip_bytes = 16 * 2**20

    @property
    def description(self) -> str:
        """The processor's architecture and core count."""
        return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"

    def memory_bytes(self) -> int:
        """Physical memory."""
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def default_budget_bytes(self) -> int:
        """All but the system's share."""
        return beside_the_system(self.memory_bytes())
