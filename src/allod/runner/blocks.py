"""What is kept of a prompt's state as bytes: what each growing layer holds for some positions, and tips."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import msgspec
import numpy as np

from allod.runner.caches import Entries, TipArrays

_LENGTH = struct.Struct("<I")
_DTYPES = {
    name: getattr(mx, name)
    for name in ("float32", "float16", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "uint32")
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class _Layout(msgspec.Struct):
    """Of one array: its dtype's name and its shape."""

    dtype: str
    shape: tuple[int, ...]


class _Head(msgspec.Struct):
    """Of all arrays that follow, in their order; None stands for one that is not there."""

    entries: list[_Layout]
    tip: list[list[_Layout | None]]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What bytes were made of.

    Attributes:
        entries: of each growing layer.
        tip: of each of the others; empty where there was no tip.
    """

    entries: tuple[Entries, ...]
    tip: tuple[TipArrays, ...]


def packed(entries: Sequence[Entries], tip: Sequence[TipArrays] = ()) -> bytes:
    """Entries of all growing layers, and a tip, as bytes; waits for them to be computed.

    Raises:
        ValueError: an array is of a kind that is not known.
    """
    flat = [array for pair in entries for array in pair]
    head = _Head(
        [_layout(array) for array in flat],
        [[None if array is None else _layout(array) for array in layer] for layer in tip],
    )
    flat += [array for layer in tip for array in layer if array is not None]
    raw = [mx.contiguous(array).view(mx.uint8) for array in flat]
    mx.eval(raw)
    encoded = msgspec.msgpack.encode(head)
    # Joined as they are: a tip is large, and each copy of it is a wait for rows.
    buffers = [np.array(array, copy=False).data for array in raw]
    return b"".join([_LENGTH.pack(len(encoded)), encoded, *buffers])


def unpacked(content: bytes) -> Unpacked:
    """The inverse of `packed`."""
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    head = msgspec.msgpack.decode(content[_LENGTH.size : start], type=_Head)

    def read(layout: _Layout) -> mx.array:
        nonlocal start
        dtype = _DTYPES[layout.dtype]
        *outer, width = layout.shape
        raw_shape = (*outer, width * dtype.size)
        size_bytes = int(np.prod(raw_shape))
        raw = np.frombuffer(content, np.uint8, size_bytes, start).reshape(raw_shape)
        start += size_bytes
        return mx.array(raw).view(dtype)

    flat = [read(layout) for layout in head.entries]
    tip = [tuple(None if layout is None else read(layout) for layout in layer) for layer in head.tip]
    return Unpacked(tuple(zip(flat[::2], flat[1::2], strict=True)), tuple(tip))


def _layout(array: mx.array) -> _Layout:
    if array.dtype not in _NAMES:
        raise ValueError(f"arrays of {array.dtype} are not written")
    return _Layout(_NAMES[array.dtype], tuple(array.shape))
