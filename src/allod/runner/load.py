"""From a folder of checked files to a model in memory, in the form it computes in."""

import json
from importlib import import_module
from pathlib import Path
from typing import cast

import mlx.core as mx
from mlx_lm.utils import load_model

from allod.device.base import Platform
from allod.runner.activations import exchange_activations
from allod.runner.exponentials import exchange_gates
from allod.runner.form import Terms, bring_into_form, require_fit, size_bytes, widen
from allod.runner.joint import join
from allod.runner.loaded import CannotLoad, Config, LoadedModel, not_installed, part
from allod.runner.network import TextNetwork
from allod.runner.norms import settle
from allod.runner.record import Measuring
from allod.runner.settings import RunnerSettings

_CODE_KEYS = ("model_file", "auto_map", "trust_remote_code")
_BUFFER_SHARE = 16
"""MLX may keep freed buffers up to this share of the budget, so that steps do not ask the system."""

_TURNED_OFF = "its pictures are turned off (runner.vision)"


def load(
    folder: Path,
    settings: RunnerSettings,
    platform: Platform,
    budget_bytes: int,
    measuring: Measuring | None = None,
) -> LoadedModel:
    """Load a catalogue folder.

    Args:
        folder: config.json and safetensors, already validated by the registry.
        settings: what the owner wants.
        platform: the machine.
        budget_bytes: most bytes this process may hold.
        measuring: where timings of products are kept; None keeps none.

    Raises:
        CannotLoad: it needs code, does not fit, is of a family that neither library knows, or is damaged.
    """
    mx.set_cache_limit(budget_bytes // _BUFFER_SHARE)
    mx.set_memory_limit(budget_bytes)  # near it, MLX gives freed buffers back rather than ask for more
    config = refuse_code(folder)
    exchange_activations()
    if platform.exponentials_are_slow:
        exchange_gates()
    terms = Terms(settings, platform, budget_bytes, measuring or Measuring(all_ways=platform.tries_ways))
    if not isinstance(config.get("vision_config"), dict):
        return load_text(folder, terms)
    if settings.vision == "off":
        return load_text(folder, terms, _TURNED_OFF)
    try:
        # Most models are text, and importing mlx-vlm takes a second that their start need not wait for.
        seeing = import_module("allod.runner.load_vision")
        return seeing.load(folder, config, terms)
    except ImportError as error:
        reason = not_installed(error)
    except CannotLoad as error:
        reason = str(error)
    if settings.vision == "on":
        raise CannotLoad(reason)
    try:
        return load_text(folder, terms, reason)
    except CannotLoad as error:
        raise CannotLoad(f"{error}; nor with pictures: {reason}") from error


def refuse_code(folder: Path) -> Config:
    """Stop a checkpoint that asks for code to be run, before any library reads it.

    Returns:
        Its config.json.

    Raises:
        CannotLoad: config.json is unreadable or names code.
    """
    try:
        config = cast("Config", json.loads((folder / "config.json").read_bytes()))
    except (OSError, ValueError) as error:
        raise CannotLoad(f"config.json cannot be read: {error}") from error
    named = [key for key in _CODE_KEYS if config.get(key)]
    if named:
        raise CannotLoad(
            f"config.json asks to run code ({', '.join(named)}); allod runs none from a checkpoint"
        )
    return config


def load_text(folder: Path, terms: Terms, blind_because: str = "") -> LoadedModel:
    """Load what of a checkpoint reads and writes text, beside whatever is there.

    Raises:
        CannotLoad: mlx-lm does not know it, it is damaged, or does not fit.
    """
    try:
        model, config = load_model(folder, lazy=True)
    except (ValueError, FileNotFoundError, KeyError, TypeError, RuntimeError) as error:
        raise CannotLoad(f"mlx-lm cannot load this checkpoint: {error}") from error
    stored_bytes = size_bytes(model)
    require_fit(model, stored_bytes, "stored", terms.budget_bytes)
    network = TextNetwork(model)
    widen(model, terms)
    join(network, model)
    settle(network, model)
    words = bring_into_form(model, network, terms)
    require_fit(model, stored_bytes, words, terms.budget_bytes)
    mx.eval(model.parameters())
    mx.clear_cache()
    return LoadedModel(
        network=network,
        config={**config, **part(config, "text_config")},
        compute=words,
        weights_bytes=mx.get_active_memory(),
        blind_because=blind_because,
    )
