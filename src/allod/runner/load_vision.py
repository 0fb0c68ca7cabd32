"""Checkpoints that see, through mlx-vlm; this module is imported only when there is one."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import mlx.core as mx
import msgspec
from mlx_lm.utils import dequantize_model
from mlx_vlm.utils import get_model_type, load_model

from allod.runner.arch.model import VisionLanguageModel, image_token_of
from allod.runner.form import Terms, bring_into_form, require_fit, size_bytes, widen
from allod.runner.joint import join
from allod.runner.loaded import CannotLoad, Config, LoadedModel, gib, text_part, too_large
from allod.runner.norms import settle
from allod.runner.packed import extra_bytes
from allod.runner.sight import sight_of
from allod.runner.vision import Picturing, SeeingNetwork
from mlx import nn

_LANGUAGE = "language_model"
_CACHE_SHARE = 8
"""Pictures take at most this share of the budget, whatever the setting allows."""


def load(folder: Path, config: Config, terms: Terms) -> LoadedModel:
    """Load a checkpoint with its vision tower, or without it where memory is short.

    Raises:
        CannotLoad: mlx-vlm does not know it, it is damaged, or not even its language model fits.
    """
    try:
        module = load_model(folder, lazy=True)
    except (ValueError, FileNotFoundError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise CannotLoad(f"mlx-vlm cannot load this checkpoint: {error}") from error
    model = cast("VisionLanguageModel", module)
    picturing = _picturing(config, model)
    stored_bytes = size_bytes(module)
    if size_bytes(model.language_model) > terms.budget_bytes:
        raise CannotLoad(too_large(stored_bytes, terms.budget_bytes))
    network = SeeingNetwork(model, picturing, terms.platform.attention_strip_bytes)
    cache_bytes = min(terms.settings.picture_cache_bytes, terms.budget_bytes // _CACHE_SHARE)
    widen(module, terms)
    _unpack_towers(module, terms)
    tower_bytes = size_bytes(module) - size_bytes(model.language_model)
    # Where there is no room for towers at all, words get theirs.
    needed_bytes = (
        0 if _shortage(model, tower_bytes, cache_bytes, terms.budget_bytes) else tower_bytes + cache_bytes
    )
    language = cast("nn.Module", model.language_model)
    join(network, language)
    settle(network, language)
    words = bring_into_form(language, network, terms, needed_bytes)
    blind_because = _shortage(model, tower_bytes, cache_bytes, terms.budget_bytes)
    if blind_because and terms.settings.vision == "on":
        raise CannotLoad(f"{blind_because}; or set runner.vision to auto, and it is served without")
    if blind_because:
        stored_bytes -= tower_bytes
        _leave_towers(model)
    require_fit(module, stored_bytes, words, terms.budget_bytes)
    mx.eval(model.parameters())
    mx.clear_cache()
    sight = msgspec.structs.replace(
        sight_of(config, _item_bytes(model), terms.platform.attention_strip_bytes),
        weights_bytes=tower_bytes,
        cache_bytes=cache_bytes,
        whole_spans=network.whole_spans,
    )
    return LoadedModel(
        network=network,
        config={**config, **text_part(config)},
        compute=words,
        weights_bytes=mx.get_active_memory(),
        sight=None if blind_because else sight,
        blind_because=blind_because,
    )


def _picturing(config: Config, model: VisionLanguageModel) -> Picturing:
    merge: object = getattr(getattr(model.config, "vision_config", None), "spatial_merge_size", 1)
    return Picturing(
        get_model_type(config) or "", image_token_of(model.config), merge if isinstance(merge, int) else 1
    )


def _shortage(model: VisionLanguageModel, tower_bytes: int, cache_bytes: int, budget_bytes: int) -> str:
    """Why the tower is left out; empty where there is room for it and for pictures."""
    needed_bytes = size_bytes(model) + cache_bytes
    if needed_bytes <= budget_bytes:
        return ""
    return (
        f"with its vision tower ({gib(tower_bytes)}) and {gib(cache_bytes)} for pictures the model needs "
        f"{gib(needed_bytes)}, and this worker's budget is {gib(budget_bytes)} (device.memory_budget_bytes)"
    )


def _leave_towers(model: VisionLanguageModel) -> None:
    for name in list(model.keys()):
        if name != _LANGUAGE:
            model.pop(name)


def _unpack_towers(module: nn.Module, terms: Terms) -> None:
    """Unpack what a tower has packed, if anything.

    Thousands of rows go through it at a time, for which the CPU's packed product is hopeless; elsewhere it
    stays as it is unless the owner says `dense`.
    """
    towers = [child for name, child in module.items() if name != _LANGUAGE and isinstance(child, nn.Module)]
    room_bytes = terms.room_bytes - size_bytes(module)
    is_hopeless = terms.platform.widened_dtype is not None and terms.settings.compute == "auto"
    if terms.settings.compute == "dense" or (is_hopeless and sum(map(extra_bytes, towers)) <= room_bytes):
        for tower in towers:
            dequantize_model(tower)


def _item_bytes(model: VisionLanguageModel) -> int:
    """Bytes of one activation: what the embedding of a token is made of."""
    embeddings = model.get_input_embeddings(mx.array([[0]])).to_dict()["inputs_embeds"]
    return 2 if embeddings is None else embeddings.dtype.size
