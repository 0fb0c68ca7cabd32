"""The worker's end of the socket pair. Two threads wait for it, so that the MLX thread never does."""

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

    Only the owner's thread calls `receive` and `send`, and neither waits for the socket. A gateway
    that stops reading therefore costs memory here, bounded by what its requests may generate, but
    never a decode step.

    A report goes into the socket at once, as far as that takes it. Another thread would get its turn only
    when the owner waits for the device, or after the time that the interpreter lets one thread go on.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[AnyCommand | Closed] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._left_over = 0  # frames for the writer: counted by the owner's thread alone
        self._written = 0  # those that it wrote: counted by the writer alone
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
        """Send a report, or queue what the socket does not take now; returns at once."""
        frame = encode(report)
        if self._left_over == self._written:
            frame = frame[self._taken(frame) :]
        if frame:
            self._left_over += 1
            self._outbox.put(frame)

    def close(self) -> None:
        """Send what is queued, then close the socket."""
        self._outbox.put(None)
        self._writer.join()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._reader.join()

    def _taken(self, frame: bytes) -> int:
        """How many bytes of a frame the socket takes without a wait."""
        try:
            return self._connection.send(frame, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            # The reader sees the same broken socket and tells the owner.
            return len(frame)

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
                return
            self._written += 1
