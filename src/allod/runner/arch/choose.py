"""Which family a model is of."""

from __future__ import annotations

from allod.runner.arch.family import Family
from allod.runner.arch.gemma4 import Gemma4
from allod.runner.arch.model import VisionLanguageModel
from allod.runner.arch.qwen3_vl import Qwen3Vl

_GEMMA4 = frozenset({"gemma4", "gemma4_unified"})
_QWEN3_VL = frozenset({"qwen3_vl", "qwen3_vl_moe"})


def family_of(model_type: str, model: VisionLanguageModel, image_token: int) -> Family:
    """The family of a model, by what mlx-vlm calls it."""
    if model_type in _GEMMA4:
        return Gemma4(model)
    if model_type in _QWEN3_VL:
        return Qwen3Vl(model, image_token)
    return Family(model)
