"""The worker process: its arguments, its platform, its model, its loop."""

import argparse
import faulthandler
import logging
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx

from allod.config import WorkerSettings
from allod.core.ports import Encoder, Runner
from allod.device.base import Platform, budget_bytes
from allod.device.choose import choose
from allod.runner.encoder import load_encoder
from allod.runner.load import CannotLoad, load
from allod.runner.masks import Masks
from allod.runner.probe import measure
from allod.runner.step import MlxRunner
from allod.worker.channel import Channel
from allod.worker.encoding import EncoderLoop
from allod.worker.loop import LoadProgress, LoadRefused, attend, serve

log = logging.getLogger(__name__)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The worker's command line; it is started by the gateway, not by people."""
    parser = argparse.ArgumentParser(prog="python -m allod.worker")
    parser.add_argument("--socket-fd", type=int, required=True, help="inherited end of the socket pair")
    parser.add_argument("--model", type=Path, required=True, help="folder of the catalogue")
    parser.add_argument("--context-tokens", type=int, required=True, help="the card's longest sequence")
    parser.add_argument("--purpose", choices=("text", "embedding"), default="text", help="what it is for")
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
        with _explaining():
            return _load(options, *_place(settings, progress), progress)

    def make_encoder(progress: LoadProgress) -> Encoder:
        with _explaining():
            return _load_encoder(options, *_place(settings, progress), progress)

    def drive_encoder(channel: Channel, encoder: Encoder) -> None:
        EncoderLoop(channel, encoder, settings.engine).run()

    connection = socket.socket(fileno=options.socket_fd)
    if options.purpose == "embedding":
        return attend(connection, make_encoder, drive_encoder)
    return serve(connection, make_runner, settings.engine)


@contextmanager
def _explaining() -> Generator[None, None, None]:
    """Whatever stands in the way of loading becomes a refusal with its reason."""
    try:
        yield
    except (CannotLoad, ValueError) as error:
        raise LoadRefused(str(error)) from error


def _place(settings: WorkerSettings, progress: LoadProgress) -> tuple[Platform, int]:
    """The machine, and the bytes of it that this worker may hold."""
    progress("choosing the device", None)
    platform = choose(settings.device.kind)
    return platform, budget_bytes(platform, settings.device.memory_budget_bytes, settings.workers)


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
    return MlxRunner(loaded.model, facts, Masks(options.model / "tokenizer.json", facts.vocabulary))


def _load_encoder(
    options: argparse.Namespace, platform: Platform, budget: int, progress: LoadProgress
) -> Encoder:
    progress("reading weights", None)
    encoder = load_encoder(options.model, platform, budget, options.context_tokens)
    facts = encoder.facts
    log.info("%s, %s weights, %.2f GiB", facts.device, facts.compute, facts.weights_bytes / 2**30)
    return encoder


def _leave(_signal: int, _frame: object) -> None:
    """SIGTERM: let the device finish what it has, then exit, which gives all memory back."""
    mx.synchronize()
    sys.exit(0)
