"""A real `allod serve` as a child process, on an ephemeral port, with a home of its own."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.scaffolding.defaults import environment
from tests.scaffolding.timings import hold

START_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass
class RunningServer:
    """Where it listens, and its process."""

    base_url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def openai_url(self) -> str:
        return f"{self.base_url}/v1"

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.base_url + path, timeout=10)

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that hold its models, from the kernel's own list of children."""
        return [pid for pid in self._children() if not _prepares_pictures(pid)]

    def picture_pids(self) -> list[int]:
        """Process ids of the workers that make pictures ready for its models."""
        return [pid for pid in self._children() if _prepares_pictures(pid)]

    def _children(self) -> list[int]:
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in text.split() if b"allod.worker" in _command(int(word))]

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.get("/ready").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the server did not get ready:\n{self.log.read_text()}")


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _prepares_pictures(pid: int) -> bool:
    return b"--purpose\0pictures" in _command(pid)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_server(home: Path, log: Path, *settings: str) -> Iterator[RunningServer]:
    """Serve `home` until the block ends, then stop with SIGTERM, which must end orderly.

    What its models were measured to take is held, so that no other server of this home measures again.
    """
    port = free_port()
    arguments = [sys.executable, "-m", "allod", "--home", str(home)]
    for setting in settings:
        arguments += ["--set", setting]
    arguments += ["serve", "--port", str(port)]
    with log.open("wb") as sink:
        process = subprocess.Popen(arguments, stdout=sink, stderr=subprocess.STDOUT, env=environment())
    server = RunningServer(f"http://127.0.0.1:{port}", process, log)
    try:
        server.wait_ready()
        hold(home)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    hold(home)
    assert code == 0, log.read_text()
