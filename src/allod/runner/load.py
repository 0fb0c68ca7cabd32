"""From a folder of checked files to a model in memory, in the form it computes in."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import dequantize_model, load_model

from allod.device.base import ComputeForm, Platform
from allod.runner.settings import RunnerSettings
from mlx import nn

_CODE_KEYS = ("model_file", "auto_map", "trust_remote_code")
_BUFFER_SHARE = 16
"""MLX may keep freed buffers up to this share of the budget, so that steps do not ask the system."""


class CannotLoad(Exception):
    """A model does not load; the message is fit for the person who asked for it."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on the device.

    Attributes:
        model: mlx-lm's module.
        config: its config.json, with a VLM's text part on top.
        compute: the form it computes in, in words.
        weights_bytes: MLX's active bytes after loading.
    """

    model: nn.Module
    config: dict[str, object]
    compute: str
    weights_bytes: int

    def number(self, *names: str, default: int) -> int:
        """The first of these config entries that is a positive integer."""
        for name in names:
            value = self.config.get(name)
            if isinstance(value, int) and value > 0:
                return value
        return default


def load(folder: Path, settings: RunnerSettings, platform: Platform, budget_bytes: int) -> LoadedModel:
    """Load a catalogue folder.

    Args:
        folder: config.json and safetensors, already validated by the registry.
        settings: the compute form the owner wants.
        platform: the machine.
        budget_bytes: most bytes this process may hold.

    Raises:
        CannotLoad: it needs code, does not fit, is of a family mlx-lm does not know, or is damaged.
    """
    mx.set_cache_limit(budget_bytes // _BUFFER_SHARE)
    refuse_code(folder)
    try:
        model, config = load_model(folder, lazy=True)
    except (ValueError, FileNotFoundError, KeyError, TypeError, RuntimeError) as error:
        raise CannotLoad(f"mlx-lm cannot load this checkpoint: {error}") from error
    compute = _bring_into_form(model, _form(settings, platform), budget_bytes)
    mx.eval(model.parameters())
    mx.clear_cache()
    text = cast("dict[str, object]", config.get("text_config") or {})
    return LoadedModel(model, {**config, **text}, compute, mx.get_active_memory())


def refuse_code(folder: Path) -> None:
    """Stop a checkpoint that asks for code to be run, before any library reads it.

    Raises:
        CannotLoad: config.json is unreadable or names code.
    """
    try:
        config: dict[str, object] = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise CannotLoad(f"config.json cannot be read: {error}") from error
    named = [key for key in _CODE_KEYS if config.get(key)]
    if named:
        raise CannotLoad(
            f"config.json asks to run code ({', '.join(named)}); allod runs none from a checkpoint"
        )


def _form(settings: RunnerSettings, platform: Platform) -> ComputeForm:
    preferred = platform.preferred_form
    if settings.compute == "auto":
        return preferred
    return ComputeForm(dense=settings.compute == "dense", dtype=preferred.dtype)


def _bring_into_form(model: nn.Module, form: ComputeForm, budget_bytes: int) -> str:
    dtype = None if form.dtype is None else _dtype(form.dtype)
    stored_bytes = _bytes(model)
    if stored_bytes > budget_bytes:
        raise CannotLoad(_too_large(stored_bytes, budget_bytes))
    words = "stored"
    if dtype is not None:
        # Before unpacking: scales in float16 would round every unpacked weight to float16.
        model.set_dtype(dtype)
    if form.dense and _is_quantised(model):
        dequantize_model(model)
        words = "dense"
    if form.dtype is not None:
        words += f" {form.dtype}"
    needed_bytes = _bytes(model)
    if needed_bytes > budget_bytes:
        raise CannotLoad(
            f"{_too_large(needed_bytes, budget_bytes)} as {words} weights; as stored it needs "
            f"{stored_bytes / 2**30:.2f} GiB: set runner.compute to stored"
        )
    return words


def _is_quantised(model: nn.Module) -> bool:
    return any(name.endswith("scales") for name, _ in tree_flatten(model.parameters()))


def _dtype(name: str) -> mx.Dtype:
    return {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}[name]


def _bytes(model: nn.Module) -> int:
    """Bytes of all parameters; lazy arrays know theirs."""
    return sum(array.nbytes for _, array in tree_flatten(model.parameters()))


def _too_large(needed_bytes: int, budget_bytes: int) -> str:
    return (
        f"the model needs {needed_bytes / 2**30:.2f} GiB and this worker's budget is "
        f"{budget_bytes / 2**30:.2f} GiB (device.memory_budget_bytes)"
    )
