"""The header of a GGUF file, read with every claim checked against the file's size.

Layout: ggml-org/ggml, docs/gguf.md. Versions 2 and 3, little-endian.
"""

import itertools
import math
import mmap
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from allod.core.errors import ImportRefused
from allod.registry.gguf.cursor import Cursor, Ended, Scalar
from allod.registry.gguf.metadata import Metadata

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SMALLEST_PAIR_BYTES = 8 + 4 + 1
_SMALLEST_TENSOR_BYTES = 8 + 4 + 4 + 8
_MOST_DIMENSIONS = 4
_LARGEST_ALIGNMENT = 1 << 20
_ARRAY = 9


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """One tensor of the file.

    Attributes:
        name: llama.cpp's name, such as `blk.0.attn_q.weight`.
        type: how its elements are stored, such as `Q4_1`.
        shape: lengths with the fastest running one last, as MLX and numpy have it.
        begin: position of its first byte in the file.
        stored_bytes: bytes it takes.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    begin: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says before its tensors' bytes."""

    metadata: Metadata
    tensors: tuple[StoredMatrix, ...]


@contextmanager
def opened(path: Path) -> Generator[mmap.mmap]:
    """The bytes of a file, mapped.

    Raises:
        ImportRefused: the file is empty.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise _refused(path, "it is empty; fetch it again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            yield view


def read_header(path: Path) -> Header:
    """Read and check a header.

    Raises:
        ImportRefused: the file is truncated, damaged, or of a form that is not read.
    """
    with opened(path) as view:
        cursor = Cursor(view, len(view))
        try:
            return _read(cursor, path)
        except Ended as error:
            raise _refused(
                path,
                f"it is truncated or damaged: its header asks for byte {error.needed_bytes}, "
                f"the file has {len(view)} bytes; fetch it again",
            ) from error
        except ValueError as error:
            raise _refused(path, f"it is damaged: {error}; fetch it again") from error


def _read(cursor: Cursor, path: Path) -> Header:
    tensor_count, pair_count = _counts(cursor, path)
    values: dict[str, Scalar | list[Scalar]] = {}
    for _ in range(pair_count):
        key = cursor.text()
        if key in values:
            raise ValueError(f"the key {key[:100]!r} stands in it twice")
        values[key] = _value(cursor)
    metadata = Metadata(values, path.name)
    infos = [_tensor_info(cursor) for _ in range(tensor_count)]
    alignment = metadata.integer_or("general.alignment", 32)
    if not 0 < alignment <= _LARGEST_ALIGNMENT or alignment & (alignment - 1):
        raise ValueError(f"its alignment of {alignment} is no power of two")
    data_begin = -(-cursor.position // alignment) * alignment
    tensors = tuple(_placed(info, data_begin, alignment) for info in infos)
    _check_layout(tensors, cursor.size, path)
    return Header(metadata, tensors)


def _counts(cursor: Cursor, path: Path) -> tuple[int, int]:
    if cursor.take(4) != _MAGIC:
        raise _refused(path, "it does not start with the letters GGUF, so it is no GGUF file")
    version = cursor.unsigned(4)
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "big"), "little") in _VERSIONS
        problem = "it is big-endian" if swapped else f"its version is {version}"
        raise _refused(path, f"{problem}; little-endian files of versions 2 and 3 are read, convert it again")
    tensors, pairs = cursor.unsigned(8), cursor.unsigned(8)
    cursor.require(pairs * _SMALLEST_PAIR_BYTES)
    cursor.require(tensors * _SMALLEST_TENSOR_BYTES)
    return tensors, pairs


def _value(cursor: Cursor) -> Scalar | list[Scalar]:
    kind = cursor.unsigned(4)
    if kind != _ARRAY:
        return cursor.scalar(kind)
    item_kind, count = cursor.unsigned(4), cursor.unsigned(8)
    return cursor.array(item_kind, count)


@dataclass(frozen=True, slots=True)
class _Info:
    name: str
    shape: tuple[int, ...]
    type_number: int
    offset: int


def _tensor_info(cursor: Cursor) -> _Info:
    name = cursor.text()
    dimensions = cursor.unsigned(4)
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise ValueError(f"tensor {name[:100]!r} has {dimensions} dimensions")
    lengths = tuple(cursor.unsigned(8) for _ in range(dimensions))
    return _Info(name, lengths[::-1], cursor.unsigned(4), cursor.unsigned(8))


_SIZES: Mapping[int, tuple[str, int, int]] = {
    int(kind): (kind.name, *GGML_QUANT_SIZES[kind])
    for kind in GGMLQuantizationType
    if kind in GGML_QUANT_SIZES
}


def _placed(info: _Info, data_begin: int, alignment: int) -> StoredMatrix:
    said = f"tensor {info.name[:100]!r}"
    if info.type_number not in _SIZES:
        raise ValueError(f"{said} is of type number {info.type_number}, which is unknown")
    type_name, block, block_bytes = _SIZES[info.type_number]
    if 0 in info.shape:
        raise ValueError(f"{said} has a side of length 0")
    if info.shape[-1] % block:
        raise ValueError(f"{said} has rows of {info.shape[-1]}, {type_name} stores blocks of {block}")
    if info.offset % alignment:
        raise ValueError(f"{said} starts at {info.offset}, which is no multiple of {alignment}")
    stored_bytes = math.prod(info.shape) // block * block_bytes
    return StoredMatrix(info.name, type_name, info.shape, data_begin + info.offset, stored_bytes)


def _check_layout(tensors: tuple[StoredMatrix, ...], size_bytes: int, path: Path) -> None:
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        raise ValueError("a tensor's name stands in it twice")
    by_place = sorted(tensors, key=lambda tensor: tensor.begin)
    needed = max((tensor.begin + tensor.stored_bytes for tensor in by_place), default=0)
    if needed > size_bytes:
        raise _refused(
            path,
            f"it is truncated: its tensors need {needed} bytes, the file has {size_bytes}; fetch it again",
        )
    for before, after in itertools.pairwise(by_place):
        if before.begin + before.stored_bytes > after.begin:
            raise ValueError(f"tensors {before.name[:100]!r} and {after.name[:100]!r} overlap")


def _refused(path: Path, problem: str) -> ImportRefused:
    return ImportRefused(f"{path.name} cannot be imported: {problem}")
