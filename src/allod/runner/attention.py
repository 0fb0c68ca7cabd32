"""Attention of vision towers a few rows at a time.

Every row of scores stands for itself, so cutting them changes nothing but rounding. It bounds what the
scores of a large picture take where the device does not fuse them (mlx-vlm allocated 125 GB for one photo on
such a way), and it makes more pieces of a block that would take long in one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol, cast

import mlx.core as mx

from allod.runner.doors import exchanged


class Attention(Protocol):
    """`mx.fast.scaled_dot_product_attention`: queries (B, H, N, D), keys and values (B, H', M, D)."""

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
        """Mix the values, (B, H, N, D)."""
        ...


@contextmanager
def in_strips(strip_bytes: int, note: Callable[[object], None]) -> Generator[None, None, None]:
    """Within the block, whatever calls MLX's attention gets it in strips of rows; each is noted.

    Args:
        strip_bytes: most bytes of scores at a time; one row is always computed whole.
        note: told of each strip.
    """
    whole = cast("Attention", mx.fast.scaled_dot_product_attention)

    def cut(
        q: mx.array,
        k: mx.array,
        v: mx.array,
        *,
        scale: float,
        mask: mx.array | str | None = None,
        **more: object,
    ) -> mx.array:
        rows = q.shape[2]
        row_bytes = q.shape[0] * q.shape[1] * k.shape[2] * q.dtype.size
        step = max(1, strip_bytes // max(1, row_bytes))  # a window may be empty
        if rows <= step or isinstance(mask, str):
            return whole(q, k, v, scale=scale, mask=mask, **more)
        parts: list[mx.array] = []
        for start in range(0, rows, step):
            end = min(start + step, rows)
            part = whole(q[:, :, start:end], k, v, scale=scale, mask=rows_of(mask, start, end, rows), **more)
            note(part)
            parts.append(part)
        return mx.concatenate(parts, axis=2)

    with exchanged(scaled_dot_product_attention=cut):
        yield


def rows_of(mask: mx.array | None, start: int, end: int, rows: int) -> mx.array | None:
    """The mask of some rows; one that is the same for all rows stays as it is."""
    if mask is None or mask.ndim < 2 or mask.shape[-2] != rows:
        return mask
    return mask[..., start:end, :]
