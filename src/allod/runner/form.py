"""The form that weights compute in: as they are stored, or unpacked, and in which dtype."""

from __future__ import annotations

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import dequantize_model

from allod.device.base import ComputeForm, Platform
from allod.runner.arch.model import Parametric
from allod.runner.loaded import CannotLoad, gib, too_large
from allod.runner.settings import RunnerSettings
from mlx import nn


def wanted_form(settings: RunnerSettings, platform: Platform) -> ComputeForm:
    """What the owner wants, or what the platform prefers."""
    preferred = platform.preferred_form
    if settings.compute == "auto":
        return preferred
    return ComputeForm(dense=settings.compute == "dense", dtype=preferred.dtype)


def bring_into_form(model: nn.Module, form: ComputeForm) -> str:
    """Change a model that is not evaluated yet; returns the form in words."""
    words = "stored"
    if form.dtype is not None:
        # Before unpacking: scales in float16 would round every unpacked weight to float16.
        model.set_dtype(_dtype(form.dtype))
    if form.dense and _is_quantised(model):
        dequantize_model(model)
        words = "dense"
    return words if form.dtype is None else f"{words} {form.dtype}"


def require_fit(model: nn.Module, stored_bytes: int, words: str, budget_bytes: int) -> None:
    """Refuse a model in its form that does not fit.

    Raises:
        CannotLoad: it is too large; says so with the numbers, and the way out where there is one.
    """
    needed_bytes = size_bytes(model)
    if stored_bytes > budget_bytes:
        raise CannotLoad(too_large(stored_bytes, budget_bytes))
    if needed_bytes > budget_bytes:
        raise CannotLoad(
            f"{too_large(needed_bytes, budget_bytes)} as {words} weights; as stored it needs "
            f"{gib(stored_bytes)}: set runner.compute to stored"
        )


def size_bytes(model: Parametric) -> int:
    """Bytes of all parameters; lazy arrays know theirs."""
    return sum(array.nbytes for _, array in tree_flatten(model.parameters()))


def _is_quantised(model: nn.Module) -> bool:
    return any(name.endswith("scales") for name, _ in tree_flatten(model.parameters()))


def _dtype(name: str) -> mx.Dtype:
    return {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}[name]
