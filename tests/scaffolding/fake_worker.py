"""A worker process without a model: the real loop over a FakeRunner, with troubles to choose from.

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

from allod.core.pictures import Digest, Tensor
from allod.core.ports import Flight
from allod.core.step import MemoryReading, ModelFacts, StepPlan
from allod.engine.settings import EngineSettings
from allod.testing.models import tiny_facts
from allod.testing.runner import FakeRunner, FakeSpeech
from allod.worker.loop import LoadProgress, LoadRefused, serve

STOP_TOKEN = 256
VOCABULARY = 300
CONTEXT_TOKENS = 8192
SPEECH = "abcdefghijklmnopqrstuvwxyz" * 200


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
        facts = tiny_facts(vocabulary=VOCABULARY, context_tokens=CONTEXT_TOKENS)
        inner = FakeRunner(facts, speech=speech, step_seconds=options.step_seconds)
        return TroubledRunner(inner, options, life)

    print("worker of", options.model, "speaks", file=sys.stderr)
    settings = EngineSettings(
        max_batch_rows=options.rows, max_queued_requests=options.queue, max_prefill_chunk_tokens=16
    )
    return serve(socket.socket(fileno=options.socket_fd), load, settings)


if __name__ == "__main__":
    sys.exit(main())
