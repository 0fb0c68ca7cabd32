from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

class LayerCache:
    """The methods this project relies on, common to mlx-lm's cache classes (`_BaseCache` and duck types)."""

    state: object
    @property
    def nbytes(self) -> int: ...
    def merge(self, caches: Sequence[LayerCache]) -> LayerCache: ...
    def extend(self, other: LayerCache) -> None: ...
    def filter(self, batch_indices: mx.array) -> None: ...
    def extract(self, idx: int) -> LayerCache: ...
    def size(self) -> int: ...
    # Positional, because models name the count differently.
    def make_mask(
        self, count: int, /, *, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None: ...
    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]: ...

class KVCache(LayerCache):
    step: int
    offset: int
    keys: mx.array | None
    values: mx.array | None
    def trim(self, n: int) -> int: ...

class RotatingKVCache(LayerCache):
    keep: int
    max_size: int
    keys: mx.array | None
    values: mx.array | None
    def __init__(self, max_size: int, keep: int = 0) -> None: ...

class BatchKVCache(LayerCache):
    offset: mx.array

class BatchRotatingKVCache(LayerCache):
    offset: mx.array

class ArraysCache(LayerCache):
    cache: list[mx.array | None]
    def advance(self, N: int) -> None: ...

class CacheList(LayerCache):
    caches: tuple[LayerCache, ...]

def make_prompt_cache(model: nn.Module, max_kv_size: int | None = None) -> list[LayerCache]: ...
