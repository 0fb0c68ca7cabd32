"""An NVIDIA GPU through MLX's CUDA backend."""

import mlx.core as mx


class CudaPlatform:
    """One NVIDIA GPU."""

    widened_dtype = None
    tries_ways = False
    prepares_shapes = True
    runs_row_kernel = True
    fuses_attention = True
    attention_strip_bytes = 256 * 2**20

    @property
    def description(self) -> str:
        """The GPU's name."""
        return f"CUDA ({mx.device_info().get('device_name', 'GPU')})"

    def memory_bytes(self) -> int:
        """The GPU's memory."""
        return int(mx.device_info()["total_memory"])

    def default_budget_bytes(self) -> int:
        """Nine tenths: the system does not live on the card, other processes may."""
        return self.memory_bytes() * 9 // 10
