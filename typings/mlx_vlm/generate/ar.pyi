from collections.abc import Iterator

import mlx.core as mx
import mlx.nn as nn

def generate_step(
    input_ids: mx.array,
    model: nn.Module,
    pixel_values: mx.array | None,
    mask: mx.array | None,
    *,
    max_tokens: int = ...,
    temperature: float | None = None,
    **kwargs: object,
) -> Iterator[tuple[int, mx.array]]: ...
