"""The catalogue as OpenAI's list of models, with what clients ask for beside it."""

from collections.abc import Iterable, Mapping

import msgspec

from allod.core.card import ModelCard
from allod.core.hosting import HostedModel, HostPhase
from allod.core.sampling import SamplingWishes

_STATES: Mapping[HostPhase, str] = {
    "cold": "not-loaded",
    "loading": "loading",
    "ready": "loaded",
    "restarting": "loading",
    "stopping": "not-loaded",
    "failed": "failed",
}


def model_body(card: ModelCard, hosted: HostedModel | None) -> dict[str, object]:
    """One model. Fields after `owned_by` are ours; what only a loaded model knows is null before.

    `context_length` is what this machine serves, `max_context_length` what the checkpoint allows.
    """
    facts = hosted.facts if hosted else None
    return {
        "id": card.name,
        "object": "model",
        "created": card.created,
        "owned_by": "allod",
        "context_length": min(facts.context_tokens, card.context_tokens) if facts else card.context_tokens,
        "max_context_length": card.context_tokens,
        "state": _STATES[hosted.phase] if hosted else "not-loaded",
        "architecture": card.architecture,
        "quantization": card.quantization,
        "weights_bytes": card.weights_bytes,
        "sampling_defaults": _given(card.sampling),
        "batching": None if facts is None else "batched" if facts.batchable else "alone",
        "alone_because": facts.alone_because or None if facts else None,
    }


def model_list(models: Iterable[tuple[ModelCard, HostedModel | None]]) -> bytes:
    """Body of GET /v1/models."""
    return msgspec.json.encode(
        {"object": "list", "data": [model_body(card, hosted) for card, hosted in models]}
    )


def _given(wishes: SamplingWishes) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(wishes).items() if value is not None}
