"""Which platform this process computes on."""

import mlx.core as mx

from allod.device.base import Platform
from allod.device.cpu import CpuPlatform
from allod.device.cuda import CudaPlatform
from allod.device.metal import MetalPlatform


def choose(kind: str) -> Platform:
    """Pick a platform and make it MLX's default device.

    Args:
        kind: `auto`, `metal`, `cuda` or `cpu`.

    Raises:
        ValueError: MLX has no such device here.
    """
    available = {"metal": mx.metal.is_available(), "cuda": mx.cuda.is_available(), "cpu": True}
    if kind == "auto":
        kind = next(name for name, present in available.items() if present)
    if not available[kind]:
        present = ", ".join(name for name, there in available.items() if there)
        raise ValueError(f"device.kind is {kind!r}, but MLX here has only: {present}")
    mx.set_default_device(mx.Device(mx.cpu if kind == "cpu" else mx.gpu))
    makers: dict[str, type[Platform]] = {"metal": MetalPlatform, "cuda": CudaPlatform, "cpu": CpuPlatform}
    return makers[kind]()
