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
    `blind_because` says why a model that could look at pictures does not, `unpaired_because` why the model
    that is to draft for it does not.
    `pricing` is money per token, as cloud routers write it: what runs here costs nobody a fee.
    """
    facts = hosted.facts if hosted else None
    generates = card.purpose == "text"
    return {
        "id": card.name,
        "object": "model",
        "created": card.created,
        "owned_by": "allod",
        "type": "llm" if generates else "embeddings",
        "context_length": context_tokens(card, hosted),
        "max_context_length": card.context_tokens,
        "max_output_tokens": context_tokens(card, hosted) if generates else None,
        "state": state_of(hosted),
        "capabilities": _capabilities(card, hosted),
        "pricing": {"prompt": "0", "completion": "0"},
        "architecture": card.architecture,
        "quantization": card.quantization,
        "weights_bytes": card.weights_bytes,
        "sampling_defaults": _given(card.sampling),
        "batching": None if facts is None else "batched" if facts.batchable else "alone",
        "alone_because": facts.alone_because or None if facts else None,
        "blind_because": facts.blind_because or None if facts else None,
        "draft_model": card.draft,
        "unpaired_because": facts.unpaired_because or None if facts else None,
    }


def model_list(
    models: Iterable[tuple[ModelCard, HostedModel | None]],
    aliases: Iterable[tuple[str, tuple[ModelCard, HostedModel | None]]] = (),
) -> bytes:
    """Body of GET /v1/models; an alias is a model of its own that says which one answers."""
    data = [model_body(card, hosted) for card, hosted in models]
    data += [model_body(*listed) | {"id": name, "alias_of": listed[0].name} for name, listed in aliases]
    return msgspec.json.encode({"object": "list", "data": data})


def context_tokens(card: ModelCard, hosted: HostedModel | None) -> int:
    """The longest prompt plus answer that is served: once loaded, what fits this machine too."""
    facts = hosted.facts if hosted else None
    return min(facts.context_tokens, card.context_tokens) if facts else card.context_tokens


def state_of(hosted: HostedModel | None) -> str:
    """Where a model is, in LM Studio's words and two more."""
    return _STATES[hosted.phase] if hosted else "not-loaded"


def sees(card: ModelCard, hosted: HostedModel | None) -> bool:
    """Whether a model looks at pictures: once it is loaded, whether it does so on this machine."""
    facts = hosted.facts if hosted else None
    return card.vision and (facts is None or facts.sight is not None)


def _capabilities(card: ModelCard, hosted: HostedModel | None) -> list[str]:
    if card.purpose == "embedding":
        return ["embeddings"]
    eyes = ["vision"] if card.has_chat_template and sees(card, hosted) else []
    chat = ["chat", "tools", "structured_outputs", "streaming"] if card.has_chat_template else []
    return [*chat, *eyes, "completion"]


def _given(wishes: SamplingWishes) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(wishes).items() if value is not None}
