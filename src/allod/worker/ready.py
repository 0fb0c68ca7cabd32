"""What must be there before MLX and mlx-lm are imported, in this order, in every process that computes."""

from allod.config import WorkerSettings, offer
from allod.device import blas, kernels
from allod.runner import tokenizerless


def prepare(settings: WorkerSettings) -> str | None:
    """Load a BLAS where MLX would compute on the CPU, say where kernels are kept, and import mlx-lm's loader.

    Returns:
        The BLAS, as `blas.prepare` names it.

    Raises:
        OSError: the owner named a BLAS that cannot be loaded.
    """
    loaded = blas.prepare(settings.device, offer, settings.kernels_folder)
    kernels.prepare(settings.device, settings.kernels_folder, offer)
    tokenizerless.import_library()
    return loaded
