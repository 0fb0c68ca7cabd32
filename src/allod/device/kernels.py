"""How MLX launches kernels on an NVIDIA GPU, and where it keeps what it compiles: told before its import."""

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from allod.device.settings import DeviceSettings

log = logging.getLogger(__name__)

_TEMPORARY = "TMPDIR"

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


def prepare(settings: DeviceSettings, folder: str, offer: Callable[[Mapping[str, str]], None]) -> None:
    """Tell MLX, and make what it does not make itself; where that cannot be, it keeps its own place.

    Args:
        settings: which device.
        folder: as `environment` takes it.
        offer: puts variables into the environment, unless the owner set them.
    """
    variables = dict(environment(settings, folder))
    if place := variables.get(_TEMPORARY):
        try:
            Path(place).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            log.warning("kernels for the CPU are kept in the system's folder: %s", error)
            del variables[_TEMPORARY]
    offer(variables)


def environment(settings: DeviceSettings, folder: str) -> Mapping[str, str]:
    """What MLX is to find in the environment.

    On a CPU it compiles loops with the system's compiler, some half a second each, keeps them in the folder
    for temporary files, and loads what is there by that name. That folder is everybody's on Linux, and a
    restart of the machine empties it; ours is the owner's.

    Args:
        settings: which device.
        folder: where compiled kernels are kept from one start to the next, those of each version of MLX
            apart; empty leaves MLX's own places, which are lost with the system's temporary files. Compiling
            anew takes some seconds on a CPU, on CUDA a minute or two.
    """
    variables: dict[str, str] = {}
    if settings.kind in ("auto", "cuda"):
        variables |= _WAYS
    if folder and settings.kind in ("auto", "cuda"):
        variables["MLX_PTX_CACHE_DIR"] = str(Path(folder) / version("mlx"))
    if folder and settings.kind in ("auto", "cpu"):
        variables[_TEMPORARY] = str(cpu_folder(folder))
    return variables


def cpu_folder(folder: str) -> Path:
    """Where what is compiled for the CPU is kept, by MLX and by us."""
    return Path(folder) / "cpu"
