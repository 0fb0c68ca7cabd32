"""The model list as tools made for LM Studio read it."""

import json

import jsonschema
import msgspec

from allod.core.hosting import HostedModel
from allod.core.ids import ModelName
from allod.testing.models import tiny_card, tiny_facts
from allod.wire.lmstudio import model_entries, model_entry
from allod.wire.openai.answers import SCHEMAS

CARD = tiny_card("tiny", kind="gguf", has_chat_template=True)


def test_a_model_that_is_not_loaded() -> None:
    """Every key that Zed and Cline read; the length it is loaded with is not there yet."""
    assert model_entry(CARD, None) == {
        "id": "tiny",
        "object": "model",
        "type": "llm",
        "publisher": "allod",
        "arch": CARD.architecture,
        "compatibility_type": "gguf",
        "quantization": CARD.quantization,
        "state": "not-loaded",
        "max_context_length": CARD.context_tokens,
        "capabilities": ["tool_use"],
    }


def test_a_loaded_model_says_how_long_its_context_is_here() -> None:
    """What the machine serves, which may be less than what the checkpoint allows."""
    facts = msgspec.structs.replace(tiny_facts(), context_tokens=100)
    entry = model_entry(CARD, HostedModel(ModelName("tiny"), "ready", facts=facts))
    assert (entry["state"], entry["loaded_context_length"]) == ("loaded", min(100, CARD.context_tokens))


def test_the_list_is_what_is_documented() -> None:
    """Embedding models are of a type of their own and call no tools."""
    embeds = tiny_card("e", purpose="embedding", has_chat_template=False)
    listed = json.loads(model_entries([(CARD, None), (embeds, None)]))
    document = {"components": {"schemas": SCHEMAS}, "$ref": "#/components/schemas/LMStudioModelList"}
    jsonschema.validate(listed, document)
    assert [entry["type"] for entry in listed["data"]] == ["llm", "embeddings"]
    assert "capabilities" not in listed["data"][1]
