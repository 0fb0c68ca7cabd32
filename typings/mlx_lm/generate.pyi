from collections.abc import Iterator

import mlx.core as mx
import mlx.nn as nn

def generate_step(
    prompt: mx.array, model: nn.Module, *, max_tokens: int = 256, prefill_step_size: int = 2048
) -> Iterator[tuple[int, mx.array]]: ...
