"""Entry of the process that measures a model without a server; see `raw_loop`. Prints JSON on stdout."""

import argparse
import importlib
import sys
from pathlib import Path

from allod.config import WorkerSettings
from allod.worker.ready import prepare


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; it is started by `allod bench loop`, not by people."""
    parser = argparse.ArgumentParser(prog="python -m allod.worker.measure")
    parser.add_argument("--model", type=Path, required=True, help="folder of the catalogue")
    parser.add_argument("--context-tokens", type=int, required=True, help="the card's longest sequence")
    parser.add_argument("--measured", type=Path, help="where it is kept what products take")
    parser.add_argument("--settings", type=WorkerSettings.from_json, required=True, help="settings as JSON")
    parser.add_argument("--rows", type=int, nargs="+", required=True, help="row counts to measure")
    parser.add_argument("--prompt-tokens", type=int, required=True, help="context of each row at the start")
    parser.add_argument("--steps", type=int, required=True, help="decode steps of each repeat")
    parser.add_argument("--repeats", type=int, required=True, help="repeats of each row count")
    return parser.parse_args(arguments)


def main() -> int:
    """Make ready what MLX looks for, then measure."""
    options = parse(sys.argv[1:])
    settings: WorkerSettings = options.settings
    loaded = prepare(settings)
    raw_loop = importlib.import_module("allod.worker.raw_loop")
    return raw_loop.run(options, loaded)


if __name__ == "__main__":
    sys.exit(main())
