import json
from typing import cast

import msgspec
import pytest
from openai.types import Model

from allod.core.card import ModelCard
from allod.core.hosting import HostedModel, HostPhase
from allod.core.ids import ModelName
from allod.core.sampling import SamplingWishes
from allod.core.step import ModelFacts
from allod.wire.openai.models import model_body, model_list

CARD = ModelCard(
    name=ModelName("smollm2-135m"),
    architecture="llama",
    context_tokens=8192,
    weights_bytes=90_000_000,
    quantization="4-bit g32",
    created=1_770_000_000,
    source="package",
    kind="package",
    vocabulary=49152,
    stop_tokens=(2,),
    sampling=SamplingWishes(temperature=0.2, top_k=0),
    has_chat_template=True,
)
FACTS = ModelFacts(
    weights_bytes=1, budget_bytes=2, layers=(), capacity_step_tokens=256, transient_bytes_per_token=1,
    transient_bytes_per_token_and_context=0, context_tokens=4096, vocabulary=49152, batchable=True,
    alone_because="", compute="float32", device="cpu",
)  # fmt: skip


def test_a_model_that_is_not_loaded() -> None:
    """What only loading tells is null; what the card says is there."""
    assert model_body(CARD, None) == {
        "id": "smollm2-135m",
        "object": "model",
        "created": 1_770_000_000,
        "owned_by": "allod",
        "type": "llm",
        "context_length": 8192,
        "max_context_length": 8192,
        "max_output_tokens": 8192,
        "state": "not-loaded",
        "capabilities": ["chat", "tools", "structured_outputs", "streaming", "completion"],
        "pricing": {"prompt": "0", "completion": "0"},
        "architecture": "llama",
        "quantization": "4-bit g32",
        "weights_bytes": 90_000_000,
        "sampling_defaults": {"temperature": 0.2, "top_k": 0},
        "batching": None,
        "alone_because": None,
        "blind_because": None,
        "draft_model": None,
        "unpaired_because": None,
    }


def test_a_loaded_model_says_how_it_is_served() -> None:
    """Context as served, batching, and the reason where rows run alone."""
    together = model_body(CARD, HostedModel(CARD.name, "ready", facts=FACTS))
    facts = msgspec.structs.replace(FACTS, batchable=False, alone_because="its cache rotates")
    alone = model_body(CARD, HostedModel(CARD.name, "ready", facts=facts))
    keys = ("state", "context_length", "max_context_length", "batching", "alone_because")
    assert [together[key] for key in keys] == ["loaded", 4096, 8192, "batched", None]
    assert [alone[key] for key in keys] == ["loaded", 4096, 8192, "alone", "its cache rotates"]


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        ("cold", "not-loaded"),
        ("loading", "loading"),
        ("ready", "loaded"),
        ("restarting", "loading"),
        ("stopping", "not-loaded"),
        ("failed", "failed"),
    ],
)
def test_phases_in_the_words_of_clients(phase: HostPhase, state: str) -> None:
    """Four states, whatever the supervisor is doing."""
    assert model_body(CARD, HostedModel(CARD.name, phase))["state"] == state


def test_the_list_is_openais() -> None:
    """Every entry satisfies the SDK's own type."""
    listed = json.loads(model_list([(CARD, None), (CARD, HostedModel(CARD.name, "failed"))]))
    assert listed["object"] == "list"
    assert [Model.model_validate(entry, strict=True).id for entry in listed["data"]] == ["smollm2-135m"] * 2


def capabilities(body: dict[str, object]) -> list[str]:
    return cast("list[str]", body["capabilities"])


def test_a_model_that_sees_says_so_unless_it_cannot_here() -> None:
    """`vision` is what the checkpoint can do, and once it is loaded what is served, with the reason."""
    card = msgspec.structs.replace(CARD, vision=True)
    assert "vision" in capabilities(model_body(card, None))
    assert "vision" not in capabilities(model_body(CARD, None))
    blind = msgspec.structs.replace(FACTS, blind_because="memory is short")
    body = model_body(card, HostedModel(CARD.name, "ready", facts=blind))
    assert "vision" not in capabilities(body)
    assert body["blind_because"] == "memory is short"


def test_a_model_says_which_one_drafts_for_it() -> None:
    """From the card; once it is loaded also why that one does not, where it does not."""
    card = msgspec.structs.replace(CARD, draft="smaller")
    assert model_body(card, None)["draft_model"] == "smaller"
    facts = msgspec.structs.replace(FACTS, unpaired_because="memory is short")
    body = model_body(card, HostedModel(CARD.name, "ready", facts=facts))
    assert (body["draft_model"], body["unpaired_because"]) == ("smaller", "memory is short")
