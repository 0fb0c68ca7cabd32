"""A position in untrusted bytes that never reads past their end."""

import mmap
import struct
from collections.abc import Mapping

Scalar = bool | int | float | str

_STRING = 8
_BOOL = 7
_FORMATS: Mapping[int, struct.Struct] = {
    number: struct.Struct(f"<{letter}")
    for number, letter in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_LENGTH = struct.Struct("<Q")


class Ended(Exception):
    """The bytes end before the value does."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"byte {needed_bytes} is needed")
        self.needed_bytes = needed_bytes


class Cursor:
    """Reads little-endian values one after the other.

    Every method raises `Ended` when the bytes end first, and `ValueError` for a value that cannot be.
    """

    def __init__(self, data: bytes | mmap.mmap, size: int) -> None:
        self._data = data
        self.size = size
        self.position = 0

    def require(self, count: int) -> None:
        """Check that so many bytes are left."""
        if count > self.size - self.position:
            raise Ended(self.position + count)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self.require(count)
        begin = self.position
        self.position = begin + count
        return self._data[begin : begin + count]

    def unsigned(self, width: int) -> int:
        """A whole number of `width` bytes."""
        return int.from_bytes(self.take(width), "little")

    def text(self) -> str:
        """A string: its length in bytes, then UTF-8."""
        return self.take(self.unsigned(_LENGTH.size)).decode("utf-8")

    def scalar(self, kind: int) -> Scalar:
        """One value of a kind that is not an array."""
        return self.array(kind, 1)[0]

    def array(self, kind: int, count: int) -> list[Scalar]:
        """So many values of one kind."""
        if kind == _STRING:
            self.require(count * _LENGTH.size)
            return [self.text() for _ in range(count)]
        if kind == _BOOL:
            return [bool(value) for value in self.take(count)]
        if kind not in _FORMATS:
            raise ValueError(f"a value is of kind {kind}, which is unknown or an array of arrays")
        form = _FORMATS[kind]
        return [value for (value,) in form.iter_unpack(self.take(count * form.size))]
