"""Entry of the worker process. A BLAS must be in the process before MLX, so the rest comes after it."""

import importlib
import sys

from allod.config import WorkerSettings
from allod.device import blas


def main() -> int:
    """Load a BLAS where MLX would compute on the CPU, then run the worker."""
    arguments = sys.argv[1:]
    settings = WorkerSettings.from_json(arguments[arguments.index("--settings") + 1])
    loaded = blas.prepare(settings.device)
    process = importlib.import_module("allod.worker.process")
    return process.run(arguments, loaded)


if __name__ == "__main__":
    sys.exit(main())
