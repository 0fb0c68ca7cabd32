"""How MLX launches kernels on an NVIDIA GPU and where it keeps them: told before it is imported."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from allod.device.settings import DeviceSettings

_WAYS = {
    # Kernels one by one. MLX would gather them into graphs, and make one anew for every sequence of shapes:
    # a server meets thousands, each waits for its graph once, and they fill memory beside what is counted.
    "MLX_USE_CUDA_GRAPHS": "0",
    # For an owner who has graphs on: where more forms of them come in turn than are held, MLX gives up the
    # process ("cache thrashing"); a server that runs for weeks meets more than the 400 of the default.
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
    return _WAYS | kept
