import json

from allod.wire.openai.schema import ChatCompletionRequest, CompletionRequest, schemas_of


def test_schemas_of_are_self_contained() -> None:
    """Every reference of the OpenAPI schemas leads to one of them."""
    schemas = schemas_of(ChatCompletionRequest, CompletionRequest)
    assert {"ChatCompletionRequest", "CompletionRequest", "ChatMessage", "TextPart"} <= schemas.keys()
    text = json.dumps(schemas)
    named = {piece.split('"')[0] for piece in text.split('"#/components/schemas/')[1:]}
    assert named <= schemas.keys()


def test_every_field_says_what_to_send() -> None:
    """Refusals are built from the descriptions."""
    for shape in (ChatCompletionRequest, CompletionRequest):
        assert [name for name, field in shape.model_fields.items() if not field.description] == []
