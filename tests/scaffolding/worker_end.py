"""The gateway's end of a socket pair, with a worker's loop on a thread behind the other."""

import socket
import threading
from collections.abc import Callable

from allod.core.messages import AnyReport, Command, encode, report_decoder

PATIENCE_SECONDS = 10


class WorkerEnd:
    """Sends commands and reads reports.

    Args:
        serve: what the worker's process would run on its end; returns its exit code.

    Attributes:
        code: the exit code, once it is there.
    """

    def __init__(self, serve: Callable[[socket.socket], int]) -> None:
        self.code: int | None = None
        self._end, worker_end = socket.socketpair()
        self._end.settimeout(PATIENCE_SECONDS)
        self._decoder = report_decoder()
        self._reports: list[AnyReport] = []
        self._thread = threading.Thread(target=self._run, args=(serve, worker_end))
        self._thread.start()

    def send(self, *commands: Command) -> None:
        self._end.sendall(b"".join(map(encode, commands)))

    def next(self) -> AnyReport:
        """The next report; raises EOFError when the worker has closed its end."""
        while not self._reports:
            data = self._end.recv(65536)
            if not data:
                raise EOFError
            self._reports.extend(self._decoder.feed(data))
        return self._reports.pop(0)

    def close(self) -> None:
        self._end.close()

    def join(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def leave(self) -> None:
        self.close()
        self.join()

    def _run(self, serve: Callable[[socket.socket], int], worker_end: socket.socket) -> None:
        self.code = serve(worker_end)
