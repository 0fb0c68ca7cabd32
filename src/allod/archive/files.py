"""A block in a file: whole or not there, and known to be as it was written."""

import os
import struct
import zlib
from pathlib import Path

SUFFIX = ".block"
PARTIAL = ".partial"
_HEADER = struct.Struct("<8sQI")
_MAGIC = b"allod-2\n"


def file_bytes(content: bytes) -> int:
    """The size of a block's file."""
    return _HEADER.size + len(content)


def write_block(path: Path, content: bytes) -> None:
    """Put a block in its place in one step, for its owner's eyes.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    partial = path.with_suffix(PARTIAL)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_HEADER.pack(_MAGIC, len(content), _checksum(path, content)))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_block(path: Path) -> bytes | None:
    """What was written there; None where that is gone, cut short, another block, or not what it was."""
    try:
        with path.open("rb") as file:
            header, content = file.read(_HEADER.size), file.read()
    except OSError:
        return None
    if len(header) < _HEADER.size:
        return None
    magic, length, checksum = _HEADER.unpack(header)
    is_sound = magic == _MAGIC and length == len(content) and checksum == _checksum(path, content)
    return content if is_sound else None


def _checksum(path: Path, content: bytes) -> int:
    """Over the name as well: a block that stands in another's place is not that block."""
    return zlib.crc32(content, zlib.crc32(path.name.encode()))
