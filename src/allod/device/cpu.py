"""A machine without a GPU that MLX can use."""

import os
import platform

from allod.device.base import beside_the_system


class CpuPlatform:
    """The CPU backend of MLX.

    Everything computes in float32, packed weights too: 16-bit products use no BLAS (see `blas`) and are many
    times slower.
    """

    widened_dtype = "float32"
    tries_ways = True
    prepares_shapes = False
    runs_row_kernel = False
    computes_beside = False
    exponentials_are_slow = True
    composes_norms = True
    fuses_attention = False
    row_length_factor = 2
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
