"""Apple silicon. Small on purpose: nothing here was run on a Mac by its authors (docs/hardware.md).

The wired limit is never raised: with two concurrent streams and cache churn, raising it to the
recommended working set panics the kernel (ml-explore/mlx#3186); never calling it does not.
"""

import mlx.core as mx

from allod.device.base import ComputeForm


class MetalPlatform:
    """One Apple GPU on unified memory."""

    preferred_form = ComputeForm(dense=False, dtype=None)
    # Head dimensions 192 and 256 are not fused (mlx: scaled_dot_product_attention.cpp, use_fallback),
    # so the score matrix is counted for every model.
    fuses_attention = False

    @property
    def description(self) -> str:
        """The chip's name."""
        return f"Metal ({mx.device_info().get('device_name', 'Apple GPU')})"

    def memory_bytes(self) -> int:
        """Unified memory, at most what Metal recommends to keep resident."""
        information = mx.device_info()
        return min(int(information["memory_size"]), int(information["max_recommended_working_set_size"]))
