"""Loading a draft model beside a model, where there is room for it and both can do it."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from msgspec import structs

from allod.core.step import DraftFacts, ModelFacts
from allod.device.base import Platform
from allod.runner.drafting import Drafter
from allod.runner.form import Terms
from allod.runner.load import load_text, refuse_code
from allod.runner.loaded import CannotLoad, LoadedModel, gib
from allod.runner.probe import fitted, measure
from allod.runner.record import Measuring
from allod.runner.settings import RunnerSettings
from allod.runner.warmup import time_chunk, time_saying, warm_up_alone

_WEIGHTS_SHARE = 0.75
"""A model and its draft model take at most this share of the budget: the rest is for sequences."""

_WEIGHTS = "model*.safetensors"


@dataclass(frozen=True, slots=True)
class DraftWishes:
    """What is to be loaded beside a model.

    Attributes:
        folder: of the catalogue, named as the draft model is.
        context_tokens: its card's longest sequence.
        settings: what the owner wants.
        platform: the machine.
        measuring: where timings of products are kept.
        max_chunk_tokens: the longest chunk that is ever read.
    """

    folder: Path
    context_tokens: int
    settings: RunnerSettings
    platform: Platform
    measuring: Measuring
    max_chunk_tokens: int


def pair(facts: ModelFacts, wishes: DraftWishes) -> tuple[ModelFacts, Drafter | None]:
    """Load the draft model of a model that is loaded.

    Args:
        facts: what was measured on the model.
        wishes: what is to be loaded beside it.

    Returns:
        The facts of both, and the draft model; or why there is none.
    """
    try:
        return _paired(facts, wishes)
    except CannotLoad as error:
        reason = str(error)
    mx.clear_cache()
    return structs.replace(facts, unpaired_because=reason), None


def _paired(facts: ModelFacts, wishes: DraftWishes) -> tuple[ModelFacts, Drafter]:
    if facts.undrafted_because:
        raise CannotLoad(f"the model takes no drafts: {facts.undrafted_because}")
    gc.collect()  # what replaced layers held must not be freed meanwhile: it would be missing from this count
    before_bytes = mx.get_active_memory()
    loaded = _load(facts, wishes)
    name = wishes.folder.name
    trials = wishes.measuring.trials(wishes.folder, loaded)
    loaded = fitted(loaded, wishes.platform, trials)
    own = measure(loaded, wishes.platform, facts.budget_bytes, wishes.context_tokens, trials)
    if own.undrafted_because:
        raise CannotLoad(f"{name} cannot follow a model: {own.undrafted_because}")
    weights_bytes = max(0, loaded.weights_bytes - before_bytes)
    if loaded.pads_chunks:
        warm_up_alone(loaded.network, wishes.max_chunk_tokens, own.context_tokens)
    tokens, seconds = time_chunk(loaded.network, min(wishes.max_chunk_tokens, own.context_tokens))
    draft = DraftFacts(
        weights_bytes=weights_bytes,
        layers=own.layers,
        transient_bytes_per_token=own.transient_bytes_per_token,
        transient_bytes_per_token_and_context=own.transient_bytes_per_token_and_context,
        context_tokens=own.context_tokens,
        reading_seconds_per_token=seconds / tokens,
        saying_seconds=time_saying(loaded.network),
    )
    both = structs.replace(facts, weights_bytes=facts.weights_bytes + weights_bytes, draft=draft)
    return both, Drafter(loaded.network, own.vocabulary)


def _load(facts: ModelFacts, wishes: DraftWishes) -> LoadedModel:
    name = wishes.folder.name
    if not wishes.folder.is_dir():
        raise CannotLoad(
            f"there is no model {name} here any more; name another one with `allod models draft`"
        )
    room_bytes = int(_WEIGHTS_SHARE * facts.budget_bytes) - facts.weights_bytes
    stored_bytes = sum(path.stat().st_size for path in wishes.folder.glob(_WEIGHTS))
    if stored_bytes > room_bytes:
        raise CannotLoad(
            f"{name} needs {gib(stored_bytes)} beside the model's {gib(facts.weights_bytes)}, and weights of "
            f"both take at most three quarters of this worker's budget of {gib(facts.budget_bytes)} "
            f"(device.memory_budget_bytes)"
        )
    refuse_code(wishes.folder)
    terms = Terms(wishes.settings, wishes.platform, room_bytes, wishes.measuring)
    try:
        return load_text(wishes.folder, terms)
    except CannotLoad as error:
        raise CannotLoad(f"{name} does not load beside it: {error}") from error
