"""Block-quantised tensors into MLX's affine form, bit for bit: nothing is rounded a second time.

MLX stores `w = scale * q + bias` with one scale and bias per group and the codes `q` packed into 32-bit
words, lowest bits first (mlx, `quantize`). llama.cpp's simple types say the same with other words
(ggml-quants.c, `dequantize_row_q4_0` and following), d and m being 16-bit floats:

    Q4_0: w = d * (q - 8)      scale = d   bias = -8 d
    Q4_1: w = d * q + m        scale = d   bias = m
    Q8_0: w = d * q, q signed  scale = d   bias = -128 d, with 128 added to q

Multiplying by a power of two is exact unless it overflows, which is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allod.core.errors import ImportRefused

GROUP_SIZE = 32
_WORD_BYTES = 4
_LOW, _FOUR, _SIGN = np.uint8(0x0F), np.uint8(4), np.uint8(0x80)

Bytes = NDArray[np.uint8]
Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix in MLX's affine form, each part as rows of bytes."""

    weight: Bytes
    scales: Bytes
    biases: Bytes


@dataclass(frozen=True, slots=True)
class BlockType:
    """A quantised type that is taken: bits per code, bytes per block of 32, and how to split blocks."""

    bits: int
    block_bytes: int
    split: Callable[[Bytes], tuple[Bytes, Halves, Halves]]


def _split_q4_0(blocks: Bytes) -> tuple[Bytes, Halves, Halves]:
    scale = _halves(blocks[:, 0:2])
    return _nibbles(blocks[:, 2:]), scale, scale * np.float16(-8)


def _split_q4_1(blocks: Bytes) -> tuple[Bytes, Halves, Halves]:
    return _nibbles(blocks[:, 4:]), _halves(blocks[:, 0:2]), _halves(blocks[:, 2:4])


def _split_q8_0(blocks: Bytes) -> tuple[Bytes, Halves, Halves]:
    scale = _halves(blocks[:, 0:2])
    return blocks[:, 2:] ^ _SIGN, scale, scale * np.float16(-128)


QUANTISED: Mapping[str, BlockType] = {
    "Q4_0": BlockType(4, 18, _split_q4_0),
    "Q4_1": BlockType(4, 20, _split_q4_1),
    "Q8_0": BlockType(8, 34, _split_q8_0),
}
PLAIN: Mapping[str, str] = {"F32": "F32", "F16": "F16", "BF16": "BF16"}


def repack(stored: Bytes, type_name: str, shape: tuple[int, ...], name: str) -> Packed:
    """A quantised matrix of `shape` rows and columns in MLX's form.

    Raises:
        ImportRefused: a scale is not finite, or its bias leaves the range of a 16-bit float.
    """
    kind = QUANTISED[type_name]
    with np.errstate(over="ignore", invalid="ignore"):  # looked for right below, as values
        codes, scales, biases = kind.split(stored.reshape(-1, kind.block_bytes))
    if not (np.isfinite(scales).all() and np.isfinite(biases).all()):
        raise ImportRefused(
            f"tensor {name!r} has {type_name} blocks whose scale or bias is not a finite 16-bit float; "
            f"take the model in another quantisation"
        )
    rows = shape[0]
    return Packed(
        weight=np.ascontiguousarray(codes).reshape(rows, -1),
        scales=scales.view(np.uint8).reshape(rows, -1),
        biases=biases.view(np.uint8).reshape(rows, -1),
    )


def packed_shapes(type_name: str, shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of the weight (32-bit words) and of scales and biases alike."""
    rows, columns = shape
    words = columns * QUANTISED[type_name].bits // (8 * _WORD_BYTES)
    return (rows, words), (rows, columns // GROUP_SIZE)


def _nibbles(packed: Bytes) -> Bytes:
    """llama.cpp pairs codes j and j + 16 of a block in a byte; MLX pairs neighbours."""
    codes = np.concatenate([packed & _LOW, packed >> _FOUR], axis=1)
    return codes[:, 0::2] | (codes[:, 1::2] << _FOUR)


def _halves(column: Bytes) -> Halves:
    return np.ascontiguousarray(column).view("<f2")
