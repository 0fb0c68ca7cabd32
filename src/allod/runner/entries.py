"""What a layer holds of a window and what a chunk brings, put behind one another, keys and values each.

MLX copies every part of a concatenation by itself: four to six launches a layer, and a chunk of few tokens
waits for launches. On CUDA one kernel of our own does it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import mlx.core as mx

Entries = tuple[mx.array, mx.array]
"""Keys and values, (B, H, T, D) each."""

Behind = Callable[[Entries, Entries, int], Entries]
"""Takes what there is, what stands behind it, and a length; gives both, and zeros up to that length."""

_COPIED_BYTES = 16
"""Of a thread: the longest load there is."""

_THREADS = 256

_SOURCE = """
    // A thread copies 16 bytes of an entry. Blocks: (1, entries, rows x keys and values x heads).
    constexpr int WIDTH = 16 / sizeof(T);
    const int heads = more_keys_shape[1], held = keys_shape[2], length = more_keys_shape[2];
    const int line = blockIdx.z % (2 * heads), row = blockIdx.z / (2 * heads), head = line % heads;
    const bool is_value = line >= heads;
    const int at = blockIdx.y * blockDim.y + threadIdx.y, context = gridDim.y * blockDim.y;
    const int place = threadIdx.x * WIDTH;
    const int64_t line_start = (row * heads + head) * static_cast<int64_t>(context) * D;
    T* target = (is_value ? all_values : all_keys) + line_start + at * D + place;

    const T* source = nullptr;
    int64_t step = 1;
    if (at < held) {
        const auto& strides = is_value ? values_strides : keys_strides;
        source = (is_value ? values : keys) + row * strides[0] + head * strides[1] + at * strides[2];
        step = strides[3];
    } else if (at < held + length) {
        const auto& strides = is_value ? more_values_strides : more_keys_strides;
        source = (is_value ? more_values : more_keys) + row * strides[0] + head * strides[1] +
            (at - held) * strides[2];
        step = strides[3];
    }
    if (source == nullptr) {
        *reinterpret_cast<uint4*>(target) = make_uint4(0, 0, 0, 0);
    } else if (step == 1 && reinterpret_cast<uintptr_t>(source) % 16 == 0) {
        *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(source + place);
    } else {
        for (int e = 0; e < WIDTH; e++) target[e] = source[(place + e) * step];
    }
"""


def concatenated(before: Entries, more: Entries, length: int) -> Entries:
    """Put `more` behind `before`, and zeros behind that, up to this length; see `Behind`."""

    def whole(held: mx.array, coming: mx.array) -> mx.array:
        rest = length - held.shape[2] - coming.shape[2]
        both = mx.concatenate([held, coming], axis=2)
        return mx.pad(both, [(0, 0), (0, 0), (0, rest), (0, 0)]) if rest else both

    return whole(before[0], more[0]), whole(before[1], more[1])


class BehindKernel:
    """`concatenated` in one kernel, for CUDA. What it is not made for is left to that."""

    def __init__(self) -> None:
        self._kernel = mx.fast.cuda_kernel(
            name="entries_behind",
            input_names=["keys", "values", "more_keys", "more_values"],
            output_names=["all_keys", "all_values"],
            source=_SOURCE,
            ensure_row_contiguous=False,
        )

    def __call__(self, before: Entries, more: Entries, length: int) -> Entries:
        """See `Behind`."""
        keys = more[0]
        rows, heads, _, width = keys.shape
        if not fits(before, more):
            return concatenated(before, more, length)
        lanes = width * keys.dtype.size // _COPIED_BYTES
        shape = (rows, heads, length, width)
        all_keys, all_values = self._kernel(
            inputs=[*before, *more],
            template=[("T", keys.dtype), ("D", width)],
            grid=(lanes, length, 2 * heads * rows),
            threadgroup=(lanes, gcd(length, max(1, _THREADS // lanes)), 1),
            output_shapes=[shape, shape],
            output_dtypes=[keys.dtype] * 2,
        )
        return all_keys, all_values


def fits(before: Entries, more: Entries) -> bool:
    """Whether the kernel is made for these: entries of one width and type, cut into threads' parts."""
    width, dtype = more[0].shape[3], more[0].dtype
    alike = all(each.dtype == dtype and each.shape[3] == width for each in (*before, *more))
    return alike and width * dtype.size % _COPIED_BYTES == 0
