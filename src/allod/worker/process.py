"""The worker process: its arguments, its platform, its model, its loop."""

import argparse
import faulthandler
import logging
import signal
import socket
import sys
from pathlib import Path

import mlx.core as mx

from allod.config import WorkerSettings
from allod.core.ports import Runner
from allod.device.base import Platform, budget_bytes
from allod.device.choose import choose
from allod.runner.load import CannotLoad, load
from allod.runner.probe import measure
from allod.runner.step import MlxRunner
from allod.worker.loop import LoadProgress, LoadRefused, serve

log = logging.getLogger(__name__)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The worker's command line; it is started by the gateway, not by people."""
    parser = argparse.ArgumentParser(prog="python -m allod.worker")
    parser.add_argument("--socket-fd", type=int, required=True, help="inherited end of the socket pair")
    parser.add_argument("--model", type=Path, required=True, help="folder of the catalogue")
    parser.add_argument("--context-tokens", type=int, required=True, help="the card's longest sequence")
    parser.add_argument("--settings", type=WorkerSettings.from_json, required=True, help="settings as JSON")
    return parser.parse_args(arguments)


def run(arguments: list[str]) -> int:
    """Serve one model until told to stop; returns the exit code."""
    options = parse(arguments)
    settings: WorkerSettings = options.settings
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)

    def make_runner(progress: LoadProgress) -> Runner:
        progress("choosing the device", None)
        try:
            platform = choose(settings.device.kind)
            budget = budget_bytes(platform, settings.device.memory_budget_bytes, settings.workers)
            return _load(options, platform, budget, progress)
        except (CannotLoad, ValueError) as error:
            raise LoadRefused(str(error)) from error

    return serve(socket.socket(fileno=options.socket_fd), make_runner, settings.engine)


def _load(options: argparse.Namespace, platform: Platform, budget: int, progress: LoadProgress) -> MlxRunner:
    progress("reading weights", None)
    loaded = load(options.model, options.settings.runner, platform, budget)
    progress("checking the model", None)
    facts = measure(loaded, platform, budget, options.context_tokens)
    log.info(
        "%s, %s weights, %.2f GiB of %.2f GiB%s",
        facts.device,
        facts.compute,
        facts.weights_bytes / 2**30,
        facts.budget_bytes / 2**30,
        "" if facts.batchable else f"; served alone: {facts.alone_because}",
    )
    return MlxRunner(loaded.model, facts)


def _leave(_signal: int, _frame: object) -> None:
    """SIGTERM: let the device finish what it has, then exit, which gives all memory back."""
    mx.synchronize()
    sys.exit(0)
