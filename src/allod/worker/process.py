"""The worker process: its arguments, its platform, its model, its loop."""

import argparse
import faulthandler
import logging
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import mlx.core as mx
from msgspec import structs

from allod.config import WorkerSettings
from allod.core.ports import Encoder, Preprocessor, Runner
from allod.core.step import ModelFacts
from allod.device.base import Platform, budget_bytes
from allod.device.blas import INSTALL_HINT, matters
from allod.device.choose import choose
from allod.media.settings import Limits
from allod.runner.drafting import Drafter
from allod.runner.encoder import load_encoder
from allod.runner.load import load
from allod.runner.loaded import CannotLoad, not_installed
from allod.runner.masks import Masks
from allod.runner.measured import DRAFT_SUFFIX, beside
from allod.runner.pairing import DraftWishes, pair
from allod.runner.probe import fitted, measure
from allod.runner.record import Measuring
from allod.runner.step import MlxRunner
from allod.runner.warmup import time_chunk, warm_up, warm_up_sampling
from allod.worker.archiving import open_archive
from allod.worker.channel import Channel
from allod.worker.encoding import EncoderLoop
from allod.worker.loop import LoadProgress, LoadRefused, attend, serve
from allod.worker.pictures import PictureLoop

TEXT, EMBEDDING, PICTURES = PURPOSES = ("text", "embedding", "pictures")
"""To generate text, to embed it, and to make pictures ready for a model that generates text."""

SWITCH_SECONDS = 0.0005
"""How long the thread that builds graphs goes on while another has a token to send; Python's own is 5 ms."""

KEPT_PICTURE_BYTES = 256 * 2**20
"""Prepared pictures that stay in their process, for whoever asks for the same one next."""

log = logging.getLogger(__name__)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The worker's command line; it is started by the gateway, not by people."""
    parser = argparse.ArgumentParser(prog="python -m allod.worker")
    parser.add_argument("--socket-fd", type=int, required=True, help="inherited end of the socket pair")
    parser.add_argument("--model", type=Path, required=True, help="folder of the catalogue")
    parser.add_argument("--context-tokens", type=int, required=True, help="the card's longest sequence")
    parser.add_argument("--purpose", choices=PURPOSES, default=TEXT, help="what it is for")
    parser.add_argument("--measured", type=Path, help="where it is kept what products take")
    parser.add_argument("--draft", type=Path, help="folder of the model that drafts for it, if one does")
    parser.add_argument("--draft-context-tokens", type=int, default=2048, help="that card's longest sequence")
    parser.add_argument("--prefixes", type=Path, help="where prefixes are kept on disk, if they are")
    parser.add_argument("--settings", type=WorkerSettings.from_json, required=True, help="settings as JSON")
    return parser.parse_args(arguments)


def run(arguments: list[str], blas: str | None = None) -> int:
    """Serve one model until told to stop.

    Args:
        arguments: see `parse`.
        blas: the library that was loaded before MLX, in words; None where none was.

    Returns:
        The exit code.
    """
    options = parse(arguments)
    settings: WorkerSettings = options.settings
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    sys.setswitchinterval(SWITCH_SECONDS)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)

    held = ExitStack()

    def make_runner(progress: LoadProgress) -> Runner:
        with _explaining():
            return _load_runner(options, blas, progress, held)

    def make_encoder(progress: LoadProgress) -> Encoder:
        with _explaining():
            return _load_encoder(options, *_place(settings, progress), progress)

    def drive_encoder(channel: Channel, encoder: Encoder) -> None:
        EncoderLoop(channel, encoder, settings.engine).run()

    def make_preprocessor(progress: LoadProgress) -> Preprocessor:
        progress("making the image processor", None)
        with _explaining():
            return _load_preprocessor(options)

    def drive_preprocessor(channel: Channel, preprocessor: Preprocessor) -> None:
        PictureLoop(channel, preprocessor, KEPT_PICTURE_BYTES).run()

    connection = socket.socket(fileno=options.socket_fd)
    if options.purpose == EMBEDDING:
        return attend(connection, make_encoder, drive_encoder)
    if options.purpose == PICTURES:
        return attend(connection, make_preprocessor, drive_preprocessor)
    with held:
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


def _advise(settings: WorkerSettings, platform: Platform, blas: str | None) -> None:
    """Say what makes a CPU faster, where nothing was found and nobody turned it off."""
    is_wanted = settings.device.blas != "none" and matters(settings.device.kind)
    if blas is None and is_wanted and platform.widened_dtype is not None:
        log.warning(INSTALL_HINT)


def _load_runner(
    options: argparse.Namespace, blas: str | None, progress: LoadProgress, held: ExitStack
) -> MlxRunner:
    settings: WorkerSettings = options.settings
    platform, budget = _place(settings, progress)
    _advise(settings, platform, blas)
    measuring = Measuring(
        file=options.measured,
        device=platform.description,
        blas=blas or "",
        on_begin=lambda: progress("measuring products", None),
        all_ways=platform.tries_ways,
    )
    progress("reading weights", None)
    loaded = load(options.model, settings.runner, platform, budget, measuring)
    progress("checking the model", None)
    trials = measuring.trials(options.model, loaded)
    loaded = fitted(loaded, platform, trials)
    facts = measure(loaded, platform, budget, options.context_tokens, trials)
    log.info(
        "%s, %s weights, %.2f GiB of %.2f GiB%s",
        facts.device,
        facts.compute,
        facts.weights_bytes / 2**30,
        facts.budget_bytes / 2**30,
        "" if facts.batchable else f"; served alone: {facts.alone_because}",
    )
    facts, drafter = _pair(options, facts, platform, measuring, progress)
    archive = open_archive(options.prefixes, options.model, settings.engine, facts)
    if archive is not None:
        held.callback(archive.close)
    masks = Masks(options.model / "tokenizer.json", facts.vocabulary)
    most_tokens, most_rows = settings.engine.max_prefill_chunk_tokens, settings.engine.max_batch_rows
    idle = MlxRunner(loaded.network, facts)
    if loaded.pads_chunks:
        warm_up(loaded.network, idle, most_tokens, most_rows, lambda done: progress("warming up", done))
    else:
        warm_up_sampling(idle)
    tokens, seconds = time_chunk(loaded.network, min(most_tokens, facts.context_tokens))
    facts = structs.replace(facts, chunk_tokens=tokens, chunk_seconds=seconds)
    return MlxRunner(loaded.network, facts, masks, archive, drafter)


def _pair(
    options: argparse.Namespace,
    facts: ModelFacts,
    platform: Platform,
    measuring: Measuring,
    progress: LoadProgress,
) -> tuple[ModelFacts, Drafter | None]:
    """Load the draft model too, if the model has one; without it everything works."""
    if options.draft is None or options.settings.engine.speculation == "off":
        return facts, None
    progress("reading the draft model", None)
    file = measuring.file and beside(measuring.file, DRAFT_SUFFIX)
    settings: WorkerSettings = options.settings
    wishes = DraftWishes(
        folder=options.draft,
        context_tokens=options.draft_context_tokens,
        settings=settings.runner,
        platform=platform,
        measuring=replace(measuring, file=file),
        max_chunk_tokens=settings.engine.max_prefill_chunk_tokens,
    )
    facts, drafter = pair(facts, wishes)
    if facts.draft is None:
        log.warning("it is served without its draft model: %s", facts.unpaired_because)
    else:
        log.info("%s drafts for it, %.2f GiB", options.draft.name, facts.draft.weights_bytes / 2**30)
    return facts, drafter


def _load_encoder(
    options: argparse.Namespace, platform: Platform, budget: int, progress: LoadProgress
) -> Encoder:
    progress("reading weights", None)
    encoder = load_encoder(options.model, platform, budget, options.context_tokens)
    facts = encoder.facts
    log.info("%s, %s weights, %.2f GiB", facts.device, facts.compute, facts.weights_bytes / 2**30)
    return encoder


def _load_preprocessor(options: argparse.Namespace) -> Preprocessor:
    """Only a process for pictures needs the processors, and importing them takes a second."""
    try:
        processor = import_module("allod.runner.processor")
    except ImportError as error:
        raise CannotLoad(not_installed(error)) from error
    settings: WorkerSettings = options.settings
    mx.set_default_device(mx.Device(mx.cpu))  # processors hand over MLX's arrays; the device is for models
    return processor.load_preprocessor(options.model, Limits.of(settings.media))


def _leave(_signal: int, _frame: object) -> None:
    """SIGTERM: let the device finish what it has, then exit, which gives all memory back."""
    mx.synchronize()
    sys.exit(0)
