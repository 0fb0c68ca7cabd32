"""Start servers side by side on this machine, and measure them in turn with `allod bench run`.

    python bench/compare_servers.py \
        --server 'allod#smollm2-135m=.venv/bin/allod serve --port {port}' \
        --server 'mlx_lm#/m=/peers/mlx-lm/bin/python -m mlx_lm server --model /m --port {port}' \
        -- --scenario single --repeats 5 --json out.json

What comes after `--` goes to `allod bench run`. The first server is what the others are compared with. All
get the environment of this script: to give each the same BLAS, set `LD_PRELOAD`. A server that keeps a core
busy while nobody asks it would take from the others; this is measured first and said.
"""

import argparse
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

READY_SECONDS = 180.0
IDLE_SECONDS = 5.0
BUSY_SHARE = 0.05
END_SECONDS = 10.0
_PATHS = ("/ready", "/health", "/v1/models")
"""The first of these that a server knows says whether it is ready."""

_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Server:
    """One server.

    Attributes:
        name: what reports call it.
        model: what it is asked for; empty for the first that it lists.
        command: starts it.
        port: where it listens.
    """

    name: str
    model: str
    command: tuple[str, ...]
    port: int

    @classmethod
    def parse(cls, text: str) -> "Server":
        """`NAME[#MODEL]=COMMAND`, with `{port}` in the command."""
        head, _, command = text.partition("=")
        name, _, model = head.partition("#")
        if not (name and "{port}" in command):
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME[#MODEL]=COMMAND with {{port}} in it")
        port = _free_port()
        return cls(name, model, tuple(shlex.split(command.replace("{port}", str(port)))), port)

    @property
    def target(self) -> str:
        """As `allod bench run` takes it."""
        return f"{self.name}=http://127.0.0.1:{self.port}" + (f"#{self.model}" if self.model else "")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(server: Server, log: IO[bytes]) -> Generator[int]:
    """A server that answers; its process group, which is ended with the block."""
    process = subprocess.Popen(server.command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(server, process)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + READY_SECONDS
    while time.monotonic() < ends:
        if process.poll() is not None:
            sys.exit(f"{server.name} ended with {process.returncode} before it was ready")
        if _is_ready(server):
            return
        time.sleep(0.5)
    sys.exit(f"{server.name} was not ready after {READY_SECONDS:.0f} seconds")


def _is_ready(server: Server) -> bool:
    for path in _PATHS:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5).close()
        except urllib.error.HTTPError as error:
            if error.code != _NOT_FOUND:
                return False
        except OSError:
            return False
        else:
            return True
    return False


def cpu_seconds(leader: int) -> float:
    """What a process and all that it started have used of all cores so far (Linux)."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            process = int(stat.parent.name)
            parents[process] = int(fields[1])
            ticks[process] = int(fields[11]) + int(fields[12])
    used = 0
    for process in ticks:
        above = process
        while above not in (leader, 0, 1):
            above = parents.get(above, 0)
        used += ticks[process] if above == leader else 0
    return used / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Start, look at them idle, measure, end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--server", type=Server.parse, action="append", required=True, help="NAME[#MODEL]=COMMAND"
    )
    parser.add_argument("--logs", type=Path, default=Path(), help="folder for what servers print")
    parser.add_argument("bench", nargs="*", help="arguments of `allod bench run`, after --")
    options = parser.parse_args()
    servers: Sequence[Server] = options.server
    # What was started is ended however this ends.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        groups: list[int] = []
        for server in servers:
            log = stack.enter_context((options.logs / f"{server.name}.log").open("wb"))
            groups.append(stack.enter_context(running(server, log)))
            sys.stderr.write(f"{server.name} is ready on port {server.port}\n")
        before = [cpu_seconds(group) for group in groups]
        time.sleep(IDLE_SECONDS)
        for server, group, used in zip(servers, groups, before, strict=True):
            share = (cpu_seconds(group) - used) / IDLE_SECONDS
            warning = ", which the others lack" if share > BUSY_SHARE else ""
            sys.stderr.write(f"{server.name} uses {share:.1%} of a core while it is idle{warning}\n")
        targets = [server.target for server in servers]
        return subprocess.call([sys.executable, "-m", "allod", "bench", "run", *targets, *options.bench])


if __name__ == "__main__":
    sys.exit(main())
