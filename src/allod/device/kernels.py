"""Where MLX keeps the kernels it compiles for a GPU, and how many plans; told before it is imported."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from allod.device.settings import DeviceSettings

_LIMITS = {
    # Graphs of kernels are looked up by their form. Where more forms come in turn than are held, MLX gives up
    # the process ("cache thrashing"); a server that runs for weeks meets more than the 400 of the default.
    "MLX_CUDA_GRAPH_CACHE_SIZE": "2000",
    # Plans of attention, one for each pair of chunk and context and each size of a row's state.
    "MLX_CUDA_SDPA_CACHE_SIZE": "2048",
}


def environment(settings: DeviceSettings, folder: str) -> Mapping[str, str]:
    """What MLX's CUDA backend is to find in the environment.

    Args:
        settings: which device.
        folder: where compiled kernels are kept from one start to the next, those of each version of MLX
            apart; empty leaves MLX's own place, which is lost with the system's temporary files. Compiling
            anew takes a minute or two.
    """
    if settings.kind not in ("auto", "cuda"):
        return {}
    kept = {"MLX_PTX_CACHE_DIR": str(Path(folder) / version("mlx"))} if folder else {}
    return _LIMITS | kept
