"""A block of a prompt's state as bytes: what each growing layer holds for its positions."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import mlx.core as mx
import msgspec
import numpy as np

from allod.runner.caches import Entries

_LENGTH = struct.Struct("<I")
_DTYPES = {name: getattr(mx, name) for name in ("float32", "float16", "bfloat16")}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class _Layout(msgspec.Struct):
    """Of one array: its dtype's name and its shape."""

    dtype: str
    shape: tuple[int, ...]


def packed(entries: Sequence[Entries]) -> bytes:
    """Entries of all growing layers as bytes; waits for them to be computed."""
    arrays = [array for pair in entries for array in pair]
    head = msgspec.msgpack.encode([_Layout(_NAMES[array.dtype], tuple(array.shape)) for array in arrays])
    raw = [mx.contiguous(array).view(mx.uint8) for array in arrays]
    mx.eval(raw)
    return b"".join(
        [_LENGTH.pack(len(head)), head, *(np.array(array, copy=False).tobytes() for array in raw)]
    )


def unpacked(content: bytes) -> tuple[Entries, ...]:
    """The inverse of `packed`."""
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    layouts = msgspec.msgpack.decode(content[_LENGTH.size : start], type=list[_Layout])
    arrays: list[mx.array] = []
    for layout in layouts:
        dtype = _DTYPES[layout.dtype]
        *outer, width = layout.shape
        raw_shape = (*outer, width * dtype.size)
        size_bytes = int(np.prod(raw_shape))
        raw = np.frombuffer(content, np.uint8, size_bytes, start).reshape(raw_shape)
        arrays.append(mx.array(raw).view(dtype))
        start += size_bytes
    return tuple(zip(arrays[::2], arrays[1::2], strict=True))
