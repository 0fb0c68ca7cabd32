"""Entry of the worker process. What MLX looks for when it is imported must be there first."""

import importlib
import sys

from allod.config import WorkerSettings, offer
from allod.device import blas, kernels
from allod.runner import tokenizerless


def main() -> int:
    """Load a BLAS where MLX would compute on the CPU, then run the worker."""
    arguments = sys.argv[1:]
    settings = WorkerSettings.from_json(arguments[arguments.index("--settings") + 1])
    loaded = blas.prepare(settings.device, offer)
    kernels.prepare(settings.device, settings.kernels_folder, offer)
    tokenizerless.import_library()
    process = importlib.import_module("allod.worker.process")
    return process.run(arguments, loaded)


if __name__ == "__main__":
    sys.exit(main())
