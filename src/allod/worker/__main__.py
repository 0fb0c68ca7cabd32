"""Entry of the worker process. What MLX looks for when it is imported must be there first."""

import importlib
import sys

from allod.config import WorkerSettings
from allod.worker.ready import prepare


def main() -> int:
    """Make ready what MLX looks for, then run the worker."""
    arguments = sys.argv[1:]
    settings = WorkerSettings.from_json(arguments[arguments.index("--settings") + 1])
    loaded = prepare(settings)
    process = importlib.import_module("allod.worker.process")
    return process.run(arguments, loaded)


if __name__ == "__main__":
    sys.exit(main())
