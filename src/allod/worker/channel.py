"""The worker's end of the socket pair: two threads that move bytes, so that the MLX thread never waits."""

import contextlib
import queue
import socket
import threading
from collections.abc import Callable

from allod.core.messages import AnyCommand, Report, command_decoder, encode

_READ_BYTES = 1 << 16


class Closed:
    """Put into the inbox when the gateway has closed its end, or the bytes made no sense."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Channel:
    """Commands in, reports out, over one connected socket.

    Only the owner's thread calls `receive` and `send`; neither touches the socket itself. A gateway
    that stops reading therefore costs memory here, bounded by what its requests may generate, but
    never a decode step.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[AnyCommand | Closed] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="commands", daemon=True)
        self._writer = threading.Thread(target=self._write, name="reports", daemon=True)
        self._reader.start()
        self._writer.start()

    def receive(self, *, wait: bool) -> AnyCommand | Closed | None:
        """The next command; None when there is none and `wait` is false."""
        try:
            return self._inbox.get(block=wait)
        except queue.Empty:
            return None

    def obey_all(self, obey: Callable[[AnyCommand], None], *, wait: bool) -> bool:
        """Have all commands obeyed that are there.

        Args:
            obey: called with each.
            wait: until there is one.

        Returns:
            False when the gateway is gone.
        """
        while (command := self.receive(wait=wait)) is not None:
            if isinstance(command, Closed):
                return False
            obey(command)
            wait = False
        return True

    def send(self, report: Report) -> None:
        """Queue a report; returns at once."""
        self._outbox.put(encode(report))

    def close(self) -> None:
        """Send what is queued, then close the socket."""
        self._outbox.put(None)
        self._writer.join()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._reader.join()

    def _read(self) -> None:
        decoder = command_decoder()
        reason = "the gateway closed the connection"
        try:
            while data := self._connection.recv(_READ_BYTES):
                for command in decoder.feed(data):
                    self._inbox.put(command)
        except (OSError, ValueError) as error:
            reason = f"reading commands failed: {error}"
        self._inbox.put(Closed(reason))

    def _write(self) -> None:
        while (frame := self._outbox.get()) is not None:
            try:
                self._connection.sendall(frame)
            except OSError:
                # The reader sees the same broken socket and tells the owner.
                return
