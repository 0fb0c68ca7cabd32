"""A worker process without a model: the real loops over fakes, with troubles to choose from.

It is run as a script by the gateway's supervisor, exactly as `python -m allod.worker` is.
"""

import argparse
import faulthandler
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from allod.core.pictures import Digest, PictureRefused, PreparedPicture, Sight, Tensor
from allod.core.ports import Archive, Flight
from allod.core.step import MemoryReading, ModelFacts, StepPlan
from allod.engine.settings import EngineSettings
from allod.testing.models import tiny_facts
from allod.testing.runner import FakeRunner, FakeSpeech
from allod.worker.loop import LoadProgress, LoadRefused, attend, serve
from allod.worker.pictures import PictureLoop

STOP_TOKEN = 256
VOCABULARY = 300
CONTEXT_TOKENS = 8192
SPEECH = "abcdefghijklmnopqrstuvwxyz" * 200
SIGHT = Sight(
    weights_bytes=0,
    feature_bytes_per_token=2,
    transient_per_byte=1.0,
    transient_per_byte_squared=0.0,
    cache_bytes=100_000,
)

PNG = b"\x89PNG\r\n\x1a\n"
BROKEN, DEADLY = PNG + b"broken", PNG + b"deadly"
"""Files that a FakePreprocessor refuses, and that end its process."""


class TroubledRunner:
    """A FakeRunner that ends badly after so many steps, in the first life of the process only."""

    def __init__(self, inner: FakeRunner, options: argparse.Namespace, life: int) -> None:
        self._inner = inner
        self._kill_after = options.kill_after if life == 1 else None
        self._hang_after = options.hang_after if life == 1 else None
        self._steps = 0

    @property
    def facts(self) -> ModelFacts:
        return self._inner.facts

    @property
    def archive(self) -> Archive | None:
        return self._inner.archive

    def memory(self) -> MemoryReading:
        return self._inner.memory()

    def receive(self, digest: Digest, tensors: Sequence[Tensor]) -> None:
        self._inner.receive(digest, tensors)

    def launch(self, plan: StepPlan) -> Flight:
        self._steps += 1
        if self._kill_after is not None and self._steps > self._kill_after:
            os.kill(os.getpid(), signal.SIGABRT)
        while self._hang_after is not None and self._steps > self._hang_after:
            time.sleep(60)
        return self._inner.launch(plan)


class FakePreprocessor:
    """Makes of a file four tokens and a tensor of the file's size, and writes down that it did."""

    def __init__(self, prepared: Path) -> None:
        self._prepared = prepared

    @property
    def facts(self) -> ModelFacts:
        return tiny_facts()

    def prepare(self, file: bytes, form: str, max_pixels: int) -> PreparedPicture:
        with self._prepared.open("a") as prepared:
            prepared.write(f"{file[len(PNG) :].decode()} {form} {max_pixels}\n")
        if file == BROKEN:
            raise PictureRefused("is broken; send another")
        if file == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return PreparedPicture((7, 8, 8, 9), (Tensor("pixels", "uint8", (len(file),), file),))

    def memory(self) -> MemoryReading:
        return MemoryReading(0, 0, 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--starts", type=Path, required=True, help="gets one line with the pid per start")
    parser.add_argument("--model", required=True)
    parser.add_argument("--gate", type=Path, help="a FIFO; loading lasts until someone writes to it")
    parser.add_argument("--load-fails", default="", help="refuse to load, with this message")
    parser.add_argument("--dies-loading", type=int, default=0, help="in so many lives")
    parser.add_argument("--step-seconds", type=float, default=0.0)
    parser.add_argument("--stop-after", type=int, help="say the stop token after so many tokens")
    parser.add_argument("--kill-after", type=int, help="SIGABRT itself after so many steps")
    parser.add_argument("--hang-after", type=int, help="hang after so many steps")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--queue", type=int, default=256)
    parser.add_argument("--sees", action="store_true", help="look at pictures")
    parser.add_argument("--prepared", type=Path, help="prepare pictures; gets one line for each")
    parser.add_argument("--stubborn", action="store_true", help="ignore SIGTERM")
    return parser.parse_args()


def main() -> int:
    options = parse()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with options.starts.open("a") as starts:
        starts.write(f"{options.model} {os.getpid()}\n")
    lines = options.starts.read_text().splitlines()
    life = sum(line.split()[0] == options.model for line in lines)

    def load(progress: LoadProgress) -> TroubledRunner:
        progress("reading weights", 0.5)
        if options.gate is not None:
            options.gate.read_text()
        if options.load_fails:
            raise LoadRefused(options.load_fails)
        if life <= options.dies_loading:
            os.kill(os.getpid(), signal.SIGKILL)
        speech = FakeSpeech(tuple(SPEECH.encode()), options.stop_after, STOP_TOKEN)
        sight = SIGHT if options.sees else None
        facts = tiny_facts(vocabulary=VOCABULARY, context_tokens=CONTEXT_TOKENS, sight=sight)
        inner = FakeRunner(facts, speech=speech, step_seconds=options.step_seconds)
        return TroubledRunner(inner, options, life)

    connection = socket.socket(fileno=options.socket_fd)
    if options.prepared is not None:
        return attend(
            connection,
            lambda _: FakePreprocessor(options.prepared),
            lambda channel, made: PictureLoop(channel, made, 1000).run(),
        )
    print("worker of", options.model, "speaks", file=sys.stderr)
    settings = EngineSettings(
        max_batch_rows=options.rows,
        max_queued_requests=options.queue,
        max_prefill_chunk_tokens=16,
        speculation="off",  # what it says repeats itself, and tests count on one token in a step
    )
    return serve(connection, load, settings)


if __name__ == "__main__":
    sys.exit(main())
