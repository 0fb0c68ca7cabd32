"""One worker process: its start, its last words, its end."""

import asyncio
import logging
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Sequence

from allod.core.card import ModelCard
from allod.local.link import Link

WorkerCommand = Callable[[ModelCard], Sequence[str]]
"""The argv of a model's worker, to which `--socket-fd N` is appended."""

_LAST_WORDS_SECONDS = 1.0
"""How long the exit waits for the end of the connection, or the other way round."""

_DUMP_SECONDS = 1.0
_TERMINATE_SECONDS = 5.0
_LINE_LIMIT_BYTES = 1 << 20

_log = logging.getLogger(__name__)


class Worker:
    """A started process and the link to it.

    Attributes:
        link: the conversation.
        gone: done as soon as the process or its connection has ended; its result says how.
    """

    def __init__(self, process: Process, link: Link) -> None:
        self.link = link
        self.pid = process.pid
        self._process = process
        self._exited = asyncio.create_task(process.wait(), name=f"exit of worker {process.pid}")
        self._log_lines = asyncio.create_task(self._log_output(), name=f"output of worker {process.pid}")
        self.gone = asyncio.create_task(self._await_end(), name=f"end of worker {process.pid}")

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process lives."""
        return self._process.returncode

    async def end(self, patience_seconds: float) -> int:
        """See the process out: wait, then SIGTERM, then SIGKILL, which can strand wired memory.

        Args:
            patience_seconds: how long it may take to exit by itself.

        Returns:
            The exit code.
        """
        for number, wait_seconds in (
            (None, patience_seconds),
            (signal.SIGTERM, _TERMINATE_SECONDS),
            (signal.SIGKILL, None),
        ):
            if number is not None and not self._exited.done():
                self._signal(number)
            await asyncio.wait({self._exited}, timeout=wait_seconds)
        self.link.close()
        await asyncio.wait({self.gone, self._log_lines}, timeout=_LAST_WORDS_SECONDS)
        self._log_lines.cancel()
        code = self._exited.result()
        _log.info("worker %d ended: %s", self.pid, _exit_words(code))
        return code

    async def kill_after_dump(self) -> None:
        """Let the worker write its stack (its SIGUSR1 handler does), then kill it."""
        self._signal(signal.SIGUSR1)
        await asyncio.wait({self.gone}, timeout=_DUMP_SECONDS)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def _await_end(self) -> str:
        ends = {self._exited, self.link.closed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ends, timeout=_LAST_WORDS_SECONDS)
        return _exit_words(self._exited.result()) if self._exited.done() else "its connection closed"

    async def _log_output(self) -> None:
        output = self._process.stdout
        if output is None:
            return
        while line := await _next_line(output):
            _log.info("worker %d: %s", self.pid, line.decode(errors="replace").rstrip())


async def start_worker(argv: Sequence[str]) -> Worker:
    """Start a worker with one end of a socket pair.

    It gets a session of its own, so that Ctrl-C in the terminal reaches the gateway alone, which
    then lets the workers finish.

    Raises:
        OSError: the program cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *argv,
                "--socket-fd",
                str(theirs.fileno()),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                limit=_LINE_LIMIT_BYTES,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        ours.setblocking(False)  # noqa: FBT003 - the socket API has no keyword for it
        _, link = await asyncio.get_running_loop().create_unix_connection(Link, sock=ours)
    except BaseException:
        # Closing our end is enough to end the process, if it was started.
        ours.close()
        raise
    _log.info("worker %d started", process.pid)
    return Worker(process, link)


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    """One line, or, of a line without end, as much as the buffer holds; empty at the end."""
    try:
        return await stream.readuntil()
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:
        return await stream.read(overrun.consumed)


def _exit_words(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
