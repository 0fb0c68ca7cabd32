from pathlib import Path

import mlx.nn as nn

def load_model(
    model_path: Path, lazy: bool = False, strict: bool = True, model_config: dict[str, object] | None = None
) -> tuple[nn.Module, dict[str, object]]: ...
def dequantize_model(model: nn.Module) -> nn.Module: ...
