"""A worker process without engine or model: tokens at a pace, for as little CPU as can be.

It is run as a script. Every sequence gets one token in each step and a step is one frame, as with the real
worker. A sequence whose seed is SILENT gets one token and then none, as one that waits would.
"""

import argparse
import itertools
import select
import socket
import sys
import time
from pathlib import Path

from allod.core.messages import (
    Admitted,
    AnyCommand,
    Cancel,
    Drain,
    Emission,
    Inspect,
    Ready,
    Refused,
    Report,
    Status,
    Stepped,
    Submit,
    command_decoder,
    encode,
)
from allod.core.step import MemoryReading
from allod.testing.models import tiny_facts

SILENT = 1
"""The seed of a sequence that falls silent after its first token."""

RETRY_SECONDS = 3


class Pacer:
    """Answers commands and makes steps.

    Args:
        end: the worker's end of the socket pair.
        options: see `parse`.
    """

    def __init__(self, end: socket.socket, options: argparse.Namespace) -> None:
        self._end = end
        self._options = options
        self._decoder = command_decoder()
        self._left: dict[int, int] = {}
        self._silent: set[int] = set()
        self._words = itertools.cycle(range(options.first_token, options.first_token + options.words))
        self._steps = 0

    def run(self) -> int:
        """Until the gateway closes its end, or drains."""
        self._say(Ready(tiny_facts(vocabulary=100_000, context_tokens=1_000_000)))
        due = time.monotonic()
        while True:
            patience = max(0.0, due - time.monotonic()) if self._speaking() else None
            readable, _, _ = select.select([self._end], [], [], patience)
            if readable:
                data = self._end.recv(1 << 20)
                if not data or not self._hear(data):
                    return 0
            if self._speaking() and time.monotonic() >= due:
                self._step()
                due = max(due + self._options.step_seconds, time.monotonic() - 0.1)

    def _hear(self, data: bytes) -> bool:
        """Obey the commands that these bytes complete; False when it is time to go."""
        goes_on = True
        for command in self._decoder.feed(data):
            goes_on = self._obey(command) and goes_on
        return goes_on

    def _speaking(self) -> bool:
        return len(self._left) > len(self._silent)

    def _obey(self, command: AnyCommand) -> bool:
        match command:
            case Submit() if len(self._left) >= self._options.rows:
                self._say(Refused(command.request, "queue_full", "The queue is full.", RETRY_SECONDS))
            case Submit():
                self._admit(command)
            case Cancel(sequences=sequences):
                self._note_cancel()
                for sequence in sequences:
                    self._forget(sequence)
            case Inspect():
                self._say(Status(len(self._left), 0, 0, 0, 0, MemoryReading(0, 0, 0), self._steps))
            case Drain():
                return False
            case _:
                pass
        return True

    def _admit(self, submit: Submit) -> None:
        limit = submit.max_tokens or 1_000_000
        self._say(Admitted(submit.request, limit, 0))
        silent = [
            sequence
            for sequence, sampling in zip(submit.sequences, submit.samplings, strict=True)
            if sampling.seed == SILENT
        ]
        self._left.update(dict.fromkeys(submit.sequences, limit))
        if silent:
            self._say(Stepped(tuple(Emission(sequence, (next(self._words),)) for sequence in silent)))
            self._silent.update(silent)

    def _forget(self, sequence: int) -> None:
        self._left.pop(sequence, None)
        self._silent.discard(sequence)

    def _step(self) -> None:
        self._steps += 1
        word = next(self._words)
        emissions: list[Emission] = []
        for sequence in [number for number in self._left if number not in self._silent]:
            self._left[sequence] -= 1
            done = self._left[sequence] == 0
            emissions.append(Emission(sequence, (word,), "length" if done else None))  # type: ignore[arg-type]
            if done:
                self._forget(sequence)
        self._say(Stepped(tuple(emissions)))

    def _say(self, report: Report) -> None:
        self._end.sendall(encode(report))

    def _note_cancel(self) -> None:
        if self._options.cancels is not None:
            with self._options.cancels.open("a") as cancels:
                cancels.write(f"{time.monotonic()}\n")


def parse() -> argparse.Namespace:
    """The flags of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--step-seconds", type=float, default=0.0, help="0 is as fast as can be")
    parser.add_argument(
        "--rows", type=int, default=100_000, help="beyond so many sequences, the queue is full"
    )
    parser.add_argument("--first-token", type=int, required=True)
    parser.add_argument("--words", type=int, required=True, help="how many tokens follow the first one")
    parser.add_argument("--cancels", type=Path, help="gets the monotonic time of each Cancel")
    return parser.parse_args()


def main() -> int:
    options = parse()
    return Pacer(socket.socket(fileno=options.socket_fd), options).run()


if __name__ == "__main__":
    sys.exit(main())
