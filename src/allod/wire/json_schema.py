"""A vocabulary for JSON Schemas: what this server answers is written in it, for OpenAPI and for tests."""

from collections.abc import Mapping

JsonSchema = dict[str, object]

STRING: JsonSchema = {"type": "string"}
INTEGER: JsonSchema = {"type": "integer"}
COUNT: JsonSchema = {"type": "integer", "minimum": 0}
NUMBER: JsonSchema = {"type": "number"}
BOOLEAN: JsonSchema = {"type": "boolean"}
STRING_OR_NULL: JsonSchema = {"type": ["string", "null"]}
NOTHING: JsonSchema = {"type": "null"}


def refer(name: str) -> JsonSchema:
    """A reference to another schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def either(*schemas: JsonSchema) -> JsonSchema:
    """One of several."""
    return {"anyOf": list(schemas)}


def or_null(schema: JsonSchema) -> JsonSchema:
    """The same, or null."""
    return either(schema, NOTHING)


def listed(schema: JsonSchema) -> JsonSchema:
    """A list of these."""
    return {"type": "array", "items": schema}


def exactly(*values: str | bool) -> JsonSchema:
    """One of these values."""
    return {"enum": list(values)}


def record(
    required: Mapping[str, JsonSchema], optional: Mapping[str, JsonSchema] | None = None
) -> JsonSchema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }
