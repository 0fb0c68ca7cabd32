from pathlib import Path

import mlx.nn as nn

def load_model(
    model_path: Path, lazy: bool = False, strict: bool = True, model_config: dict[str, object] | None = None
) -> tuple[nn.Module, dict[str, object]]: ...
def dequantize_model(model: nn.Module) -> nn.Module: ...

class _Arguments:
    @classmethod
    def from_dict(cls, params: dict[str, object]) -> object: ...

def _get_classes(config: dict[str, object]) -> tuple[type[nn.Module], type[_Arguments]]: ...
