import mlx.nn as nn
from mlx_lm.models.cache import LayerCache

def make_prompt_cache(model: nn.Module, max_kv_size: int | None = None) -> list[LayerCache]: ...
