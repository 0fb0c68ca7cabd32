"""Attention of rows that decode together, in a kernel of our own, for CUDA.

Rows of a batch are padded to one length, so that each attends behind a mask. MLX has fused kernels for one
token without a mask and for many with one, but on CUDA none for one with a mask: it takes ten operations, and
with them a step of eight rows takes twice as long as one of a single row.

The kernel is the usual online softmax (Milakov and Gimelshein 2018) over parts of the keys, whose results are
merged as in Flash-Decoding (Dao et al. 2023). What a mask hides is not even read.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import cast

import mlx.core as mx

from allod.runner.attention import Attention
from allod.runner.doors import exchanged
from allod.runner.network import Network, NetworkWithin

_WARPS = 8
_WARP_THREADS = 32
_LOAD_BYTES = 16
_MOST_HEADS = 4
"""Query heads of a block: they share what is read of their key head, and their sums fit into registers."""

_FILLING_BLOCKS = 264
"""Two for each of an H100's processors: with fewer rows, a row's keys are shared out among blocks."""

_LEAST_PART_TOKENS = 256
_MOST_PARTS = 32

_PARTS = """
    // A block: a row, HEADS query heads of one key head, and a part of the keys. LANES threads take a key.
    constexpr int WIDTH = 16 / sizeof(T);
    constexpr int LANES = D / WIDTH;
    constexpr int KEYS = 32 / LANES;
    constexpr int GROUPS = WARPS * KEYS;
    const int lane = threadIdx.x % 32;
    const int place = (lane % LANES) * WIDTH;
    const int group = (threadIdx.x / 32) * KEYS + lane / LANES;
    const int part = blockIdx.x, parts = gridDim.x, first = blockIdx.y * HEADS, row = blockIdx.z;
    const int heads = q_shape[1], key_head = first / (heads / k_shape[1]), count = k_shape[2];
    const int size = (count + parts - 1) / parts, begin = part * size, end = min(count, begin + size);
    const T* keys = k + row * k_strides[0] + key_head * k_strides[1] + place;
    const T* values = v + row * v_strides[0] + key_head * v_strides[1] + place;
    const bool* seen = mask + row * mask_strides[0];

    float query[HEADS][WIDTH], mixed[HEADS][WIDTH], best[HEADS], total[HEADS];
    const float factor = scale[0] * 1.44269504f;  // exp2 is the one that the hardware has
    for (int h = 0; h < HEADS; h++) {
        best[h] = -1e30f;
        total[h] = 0.0f;
        const T* source = q + row * q_strides[0] + (first + h) * q_strides[1];
        for (int e = 0; e < WIDTH; e++) {
            query[h][e] = factor * float(source[(place + e) * q_strides[3]]);
            mixed[h][e] = 0.0f;
        }
    }
    for (int start = begin; start < end; start += GROUPS) {
        const int at = start + group;
        const bool is_seen = at < end && seen[at * mask_strides[3]];
        float score[HEADS];
        alignas(16) T held[WIDTH];
        if (is_seen) {
            *reinterpret_cast<uint4*>(held) = *reinterpret_cast<const uint4*>(keys + at * k_strides[2]);
        }
        for (int h = 0; h < HEADS; h++) {
            score[h] = 0.0f;
            if (is_seen) {
                for (int e = 0; e < WIDTH; e++) score[h] += query[h][e] * float(held[e]);
            }
        }
        for (int h = 0; h < HEADS; h++) {
            for (int other = LANES / 2; other > 0; other /= 2) {
                score[h] += __shfl_xor_sync(0xffffffff, score[h], other);
            }
        }
        if (is_seen) {
            *reinterpret_cast<uint4*>(held) = *reinterpret_cast<const uint4*>(values + at * v_strides[2]);
            for (int h = 0; h < HEADS; h++) {
                const float better = max(best[h], score[h]);
                const float shrink = exp2f(best[h] - better), weight = exp2f(score[h] - better);
                best[h] = better;
                total[h] = total[h] * shrink + weight;
                for (int e = 0; e < WIDTH; e++) mixed[h][e] = mixed[h][e] * shrink + weight * float(held[e]);
            }
        }
    }

    __shared__ float all_mixed[GROUPS][HEADS][D];
    __shared__ float all_best[GROUPS][HEADS], all_total[GROUPS][HEADS];
    for (int h = 0; h < HEADS; h++) {
        if (lane % LANES == 0) {
            all_best[group][h] = best[h];
            all_total[group][h] = total[h];
        }
        for (int e = 0; e < WIDTH; e++) all_mixed[group][h][place + e] = mixed[h][e];
    }
    __syncthreads();
    for (int index = threadIdx.x; index < HEADS * D; index += blockDim.x) {
        const int h = index / D, e = index % D;
        float most = -1e30f, sum = 0.0f, value = 0.0f;
        for (int g = 0; g < GROUPS; g++) most = max(most, all_best[g][h]);
        for (int g = 0; g < GROUPS; g++) {
            const float weight = exp2f(all_best[g][h] - most);
            sum += weight * all_total[g][h];
            value += weight * all_mixed[g][h][e];
        }
        const int target = (row * heads + first + h) * parts + part;
        part_mixed[target * D + e] = value;
        if (e == 0) {
            part_best[target] = most;
            part_total[target] = sum;
        }
    }
"""

_MERGE = """
    const int head = blockIdx.x, e = threadIdx.x, parts = part_best_shape[1];
    float most = -1e30f, sum = 0.0f, value = 0.0f;
    for (int part = 0; part < parts; part++) most = max(most, part_best[head * parts + part]);
    for (int part = 0; part < parts; part++) {
        const float weight = exp2f(part_best[head * parts + part] - most);
        sum += weight * part_total[head * parts + part];
        value += weight * part_mixed[(head * parts + part) * D + e];
    }
    mixed[head * D + e] = T(value / sum);
"""


class RowAttention:
    """`mx.fast.scaled_dot_product_attention` for one token of each row behind a mask.

    Args:
        other: takes what the kernel does not: other shapes, types and options.
    """

    def __init__(self, other: Attention) -> None:
        self._other = other
        self._parts = mx.fast.cuda_kernel(
            name="row_attention_parts",
            input_names=["q", "k", "v", "mask", "scale"],
            output_names=["part_mixed", "part_best", "part_total"],
            source=_PARTS,
            ensure_row_contiguous=False,
        )
        self._merge = mx.fast.cuda_kernel(
            name="row_attention_merge",
            input_names=["part_mixed", "part_best", "part_total"],
            output_names=["mixed"],
            source=_MERGE,
        )
        self._scales: dict[float, mx.array] = {}

    def __call__(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        *,
        scale: float,
        mask: mx.array | str | None = None,
        **more: object,
    ) -> mx.array:
        """Mix the values, (B, H, 1, D); see `Attention`."""
        if not isinstance(mask, mx.array) or not fits(q, k, v, mask) or more.get("sinks") is not None:
            return self._other(q, k, v, scale=scale, mask=mask, **more)
        rows, heads, _, width = q.shape
        together = shared_heads(heads // k.shape[1])
        parts = part_count(rows * heads // together, k.shape[2])
        lines = rows * heads
        seen = mx.broadcast_to(mask, (rows, 1, 1, k.shape[2]))
        factor = self._scales.setdefault(scale, mx.array([scale], dtype=mx.float32))
        mixed, best, total = self._parts(
            inputs=[q, k, v, seen, factor],
            template=[("T", q.dtype), ("D", width), ("HEADS", together), ("WARPS", _WARPS)],
            grid=(_WARPS * _WARP_THREADS * parts, heads // together, rows),
            threadgroup=(_WARPS * _WARP_THREADS, 1, 1),
            output_shapes=[(lines, parts, width), (lines, parts), (lines, parts)],
            output_dtypes=[mx.float32] * 3,
        )
        (merged,) = self._merge(
            inputs=[mixed, best, total],
            template=[("T", q.dtype), ("D", width)],
            grid=(width * lines, 1, 1),
            threadgroup=(width, 1, 1),
            output_shapes=[(rows, heads, 1, width)],
            output_dtypes=[q.dtype],
        )
        return merged


def fits(q: mx.array, k: mx.array, v: mx.array, mask: mx.array) -> bool:
    """Whether the kernel is made for this: one token a row, heads it can share out, a mask of yes and no."""
    width = q.shape[-1]
    lanes = width * q.dtype.size // _LOAD_BYTES
    return (
        q.shape[2] == 1
        and k.shape[-1] == v.shape[-1] == width
        and q.dtype == k.dtype == v.dtype
        and lanes in (4, 8, 16, 32)
        and q.shape[1] % k.shape[1] == 0
        and mask.dtype == mx.bool_
        and mask.ndim == q.ndim
        and mask.shape[1] == 1
    )


def shared_heads(heads: int) -> int:
    """How many of the query heads of a key head a block takes."""
    return max(count for count in range(1, _MOST_HEADS + 1) if heads % count == 0)


def part_count(blocks: int, tokens: int) -> int:
    """Into how many parts keys are cut, if so many blocks would work without that."""
    return max(1, min(_FILLING_BLOCKS // blocks, tokens // _LEAST_PART_TOKENS, _MOST_PARTS))


class RowsNetwork(NetworkWithin):
    """A network whose rows attend by the kernel above when they decode together."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._attention = RowAttention(cast("Attention", mx.fast.scaled_dot_product_attention))

    def within(self, rows: int, *, decodes: bool) -> AbstractContextManager[object]:
        """Attention, for more than one row; see `NetworkWithin`."""
        return (
            exchanged(scaled_dot_product_attention=self._attention) if decodes and rows > 1 else nullcontext()
        )
