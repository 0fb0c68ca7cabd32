"""An NVIDIA GPU through MLX's CUDA backend."""

import mlx.core as mx

from allod.device.base import GIB


class CudaPlatform:
    """One NVIDIA GPU."""

    widened_dtype = None
    tries_ways = False
    prepares_shapes = True
    runs_row_kernel = True
    computes_beside = True
    exponentials_are_slow = False
    composes_norms = False
    fuses_attention = True
    row_length_factor = 8  # a group costs launches, and what is padded is not read
    attention_strip_bytes = 256 * 2**20

    @property
    def description(self) -> str:
        """The GPU's name."""
        return f"CUDA ({mx.device_info().get('device_name', 'GPU')})"

    def memory_bytes(self) -> int:
        """The GPU's memory."""
        return int(mx.device_info()["total_memory"])

    def default_budget_bytes(self) -> int:
        """All but a quarter or 20 GiB, for what CUDA's libraries take beside what MLX counts.

        An owner who has MLX make graphs of kernels needs most of that: a 27B with 32 rows came to 15 GiB of
        them on an H100.
        """
        memory_bytes = self.memory_bytes()
        return memory_bytes - min(memory_bytes // 4, 20 * GIB)
