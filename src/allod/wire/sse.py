"""Server-sent events, as the WHATWG HTML standard frames them (section 9.2)."""

import msgspec

_encode = msgspec.json.Encoder().encode

DONE = b"data: [DONE]\n\n"
"""What ends an OpenAI stream that did not fail."""


def frame(data: bytes) -> bytes:
    """One event. `data` holds no carriage return, as JSON never does; a newline makes a second line."""
    return b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


def named_frame(name: str, data: bytes) -> bytes:
    """One event with a name. `data` is JSON on one line, and leaves on one line for every parser."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), one_line(data))


class Splice:
    """Frames that differ in one JSON string only: all the rest of them is encoded once.

    Args:
        frame: one of them, with MARK for the text.
    """

    MARK = "\x00"

    def __init__(self, frame: bytes) -> None:
        self._head, mark, self._tail = frame.partition(_encode(self.MARK))
        if not mark:
            raise ValueError("the frame does not hold the mark")

    def frame(self, text: str) -> bytes:
        """The frame of this text."""
        data = _encode(text)
        return self._head + (data if data.isascii() else one_line(data)) + self._tail


def one_line(data: bytes) -> bytes:
    """Escape what Unicode takes for a line end and SSE does not: many clients split lines by Unicode."""
    if data.isascii():
        return data
    return (
        data.replace("\u0085".encode(), rb"\u0085")
        .replace("\u2028".encode(), rb"\u2028")
        .replace("\u2029".encode(), rb"\u2029")
    )


def comment(text: str) -> bytes:
    """A line that parsers skip: it tells proxies and clients that the stream lives."""
    return b": " + " ".join(text.split()).encode() + b"\n\n"


class SseParser:
    """Bytes in any cut -> the data of each event. Comments and other fields are skipped."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._after_return = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that these bytes complete."""
        if not chunk:
            return []
        news = chunk.removeprefix(b"\n") if self._after_return else chunk
        self._after_return = chunk.endswith(b"\r")
        *whole, rest = news.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events: list[bytes] = []
        for line in whole:
            self._line += line
            events.extend(self._end_line())
        self._line += rest
        return events

    def flush(self) -> int:
        """How many bytes of an unfinished event are left; they count for nothing, as the standard says."""
        return len(self._line) + sum(map(len, self._data))

    def _end_line(self) -> list[bytes]:
        line = bytes(self._line)
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return []
        data, self._data = self._data, []
        return [b"\n".join(data)] if data else []
