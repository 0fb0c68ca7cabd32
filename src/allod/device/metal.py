"""Apple silicon. Small on purpose: nothing here was run on a Mac by its authors (docs/hardware.md).

The wired limit is never raised: with two concurrent streams and cache churn, raising it to the
recommended working set panics the kernel (ml-explore/mlx#3186); never calling it does not.
"""

import mlx.core as mx

from allod.device.base import beside_the_system


class MetalPlatform:
    """One Apple GPU on unified memory."""

    widened_dtype = None
    # Head dimensions 192 and 256 are not fused (mlx: scaled_dot_product_attention.cpp, use_fallback),
    # so the score matrix is counted for every model.
    tries_ways = False
    prepares_shapes = False
    runs_row_kernel = False
    computes_beside = True
    exponentials_are_slow = False
    composes_norms = False
    fuses_attention = False
    row_length_factor = 2
    attention_strip_bytes = 64 * 2**20

    @property
    def description(self) -> str:
        """The chip's name."""
        return f"Metal ({mx.device_info().get('device_name', 'Apple GPU')})"

    def memory_bytes(self) -> int:
        """Unified memory."""
        return int(mx.device_info()["memory_size"])

    def default_budget_bytes(self) -> int:
        """All but the system's share, at most what Metal recommends to keep resident."""
        recommended = int(mx.device_info()["max_recommended_working_set_size"])
        return min(beside_the_system(self.memory_bytes()), recommended)
