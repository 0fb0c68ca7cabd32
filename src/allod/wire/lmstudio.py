"""The catalogue as LM Studio's own API lists it (`GET /api/v0/models`), for tools made for it."""

from collections.abc import Iterable

import msgspec

from allod.core.card import ModelCard
from allod.core.hosting import HostedModel
from allod.wire.openai.models import context_tokens, sees, state_of

_COMPATIBILITY = {"gguf": "gguf"}


def model_entry(card: ModelCard, hosted: HostedModel | None) -> dict[str, object]:
    """One model. `loaded_context_length` is there only while it is loaded, as LM Studio has it."""
    state = "loaded" if state_of(hosted) == "loaded" else "not-loaded"
    entry: dict[str, object] = {
        "id": card.name,
        "object": "model",
        "type": _kind(card, hosted),
        "publisher": "allod",
        "arch": card.architecture,
        "compatibility_type": _COMPATIBILITY.get(card.kind, "mlx"),
        "quantization": card.quantization,
        "state": state,
        "max_context_length": card.context_tokens,
    }
    if card.has_chat_template:
        entry["capabilities"] = ["tool_use"]
    if state == "loaded":
        entry["loaded_context_length"] = context_tokens(card, hosted)
    return entry


def _kind(card: ModelCard, hosted: HostedModel | None) -> str:
    if card.purpose == "embedding":
        return "embeddings"
    return "vlm" if sees(card, hosted) else "llm"


def model_entries(models: Iterable[tuple[ModelCard, HostedModel | None]]) -> bytes:
    """Body of GET /api/v0/models."""
    entries = [model_entry(card, hosted) for card, hosted in models]
    return msgspec.json.encode({"object": "list", "data": entries})
