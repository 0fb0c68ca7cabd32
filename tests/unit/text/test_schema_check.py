"""Rules of JSON Schema: enforced, or refused by name."""

import json

import pytest
from tests.scaffolding.tokenizers import MarkedBytes, marked_bytes

from allod.core.errors import InvalidRequest
from allod.core.formats import JsonSchema
from allod.text.grammar import GrammarBuilder, GrammarWish
from allod.text.schema_check import enforceable

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> MarkedBytes:
    return marked_bytes(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def builder(tokens: MarkedBytes) -> GrammarBuilder:
    return GrammarBuilder(tokens.facts)


def grammar(builder: GrammarBuilder, schema: object) -> str:
    return builder.build(GrammarWish(JsonSchema(json.dumps(schema))))


ENFORCED = [
    ({"type": "string", "minLength": 3}, '"abc"', '"ab"'),
    ({"type": "string", "maxLength": 1}, '"a"', '"ab"'),
    ({"type": "string", "pattern": "^a+$"}, '"aa"', '"b"'),
    ({"type": "string", "pattern": "a"}, '"bab"', '"b"'),
    ({"type": "string", "format": "date"}, '"2026-01-31"', '"x"'),
    ({"type": "integer", "multipleOf": 3}, "6", "4"),
    ({"type": "number", "minimum": 1.5}, "1.5", "1.2"),
    ({"type": "integer", "exclusiveMaximum": 3}, "2", "3"),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, "[1]", "[1,2]"),
    ({"type": "array", "items": [{"type": "integer"}]}, "[1]", '["a"]'),
    ({"type": "array", "minItems": 2, "items": {"type": "null"}}, "[null,null]", "[null]"),
    ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}}, '{"ab": 1}', '{"ab": "x"}'),
    ({"type": "object", "maxProperties": 1}, '{"a":1}', '{"a":1,"b":2}'),
    ({"type": "object", "minProperties": 1}, '{"a":1}', "{}"),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, "1", "true"),
    ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, "3", "2"),
    ({"enum": [{"a": 1}, "b"]}, '{"a":1}', '{"a":2}'),
    ({"type": ["integer", "null"]}, "null", '"x"'),
    ({"const": 5, "$schema": DRAFT_4}, "5", "4"),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "$schema": DRAFT_7}, "[1]", '["a"]'),
    ({"$defs": {"x": {"type": "integer"}}, "$ref": "#/$defs/x", "minimum": 5}, "5", "4"),
    ({"type": "string", "x-guidance": {"lenient": True}, "uniqueItems": False}, '"a"', "1"),
    (
        {"type": "object", "additionalProperties": {"type": "string"}, "properties": {"a": {"const": 1}}},
        '{"a":1,"b":"x"}',
        '{"\\u0061":"x"}',
    ),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), ENFORCED)
def test_rules_hold(builder: GrammarBuilder, tokens: MarkedBytes, schema: object, valid: str, invalid: str):
    """What the schema allows can be said, and what it forbids cannot."""
    built = grammar(builder, schema)
    assert tokens.takes(built, valid)
    assert not tokens.takes(built, invalid)


REFUSED = [
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"not": {"type": "string"}}, "not"),
    ({"if": {"type": "string"}, "then": {"minLength": 3}}, "if"),
    ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, "dependentSchemas"),
    ({"dependencies": {"a": ["b"]}, "$schema": DRAFT_7}, "dependencies"),
    ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    ({"unevaluatedItems": False}, "unevaluatedItems"),
    ({"contains": {"type": "integer"}, "$schema": DRAFT_4}, "contains"),
    ({"propertyNames": {"maxLength": 1}}, "propertyNames"),
    ({"$dynamicRef": "#a"}, "$dynamicRef"),
    ({"$recursiveRef": "#"}, "$recursiveRef"),
    ({"type": "string", "nullable": True}, "nullable"),
    ({"type": "string", "minLenght": 3}, "minLenght"),
    ({"properties": {"a": {"items": {"minLenght": 3}}}}, "#/properties/a/items"),
    ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, "exclusiveMinimum"),
    ({"type": "object", "minProperties": 2}, "minProperties"),
    ({"type": "string", "format": "regex"}, "Unknown format: regex"),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, "oneOf"),
    ({"patternProperties": {"a": {"type": "integer"}, "b": {"type": "string"}}}, "not disjoint"),
    ({"$ref": "https://example.com/schema"}, "https://example.com/schema"),
    ({"$ref": "#/$defs/nowhere"}, "/$defs/nowhere"),
    ({"type": "word"}, "word"),
    ({"enum": []}, "Unsatisfiable"),
    ({"type": "integer", "minimum": 2, "maximum": 1}, "Unsatisfiable"),
    ({"type": "string", "minLength": "x"}, "minLength"),
    ({"anyOf": {"type": "string"}}, "#/anyOf"),
    ({"properties": [1]}, "#/properties"),
    ({"items": 3}, "#/items"),
    (False, "false"),
    (3, "an object, true or false"),
]


@pytest.mark.parametrize(("schema", "named"), REFUSED)
def test_rules_that_would_not_hold_are_refused(builder: GrammarBuilder, schema: object, named: str):
    """The refusal is a 400 that names the construct and the field."""
    with pytest.raises(InvalidRequest) as refusal:
        grammar(builder, schema)
    assert named in refusal.value.message
    assert refusal.value.param == "response_format.json_schema.schema"


def test_what_is_no_json_is_refused():
    """So is what is too long or too deep to be read."""
    for text in ("", "{", "[" * 100_000, '{"a": ' * 80 + "1" + "}" * 80, f'{{"title": "{"a" * 300_000}"}}'):
        with pytest.raises(InvalidRequest):
            enforceable(text, "field")
    deep: object = {}
    for _ in range(80):
        deep = {"items": deep}
    with pytest.raises(InvalidRequest, match="nested deeper"):
        enforceable(json.dumps(deep), "field")


def test_annotations_change_nothing(builder: GrammarBuilder):
    """Two schemas that differ in annotations alone are one grammar."""
    bare = {"type": "object", "properties": {"title": {"type": "string"}}}
    words = {"title": "T", "description": "d", "default": {}, "examples": [1], "deprecated": True}
    more = {"$schema": DRAFT_7, "readOnly": True, "x-order": 1, "$comment": "c", "discriminator": {}}
    told = {**words, **more, **bare}
    assert grammar(builder, told) == grammar(builder, bare)


STRICT = {
    "type": "object",
    "properties": {
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}},
        "unit": {"anyOf": [{"type": "string", "enum": ["c", "f"]}, {"type": "null"}]},
        "self": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        "kind": {"const": "a"},
    },
    "required": ["steps", "unit", "self", "kind"],
    "additionalProperties": False,
    "$defs": {
        "step": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/step"}]}},
            "required": ["text"],
            "additionalProperties": False,
        }
    },
}


def test_strict_schemas_pass(builder: GrammarBuilder, tokens: MarkedBytes):
    """All that OpenAI's strict mode allows is enforced: definitions, unions, constants, recursion."""
    built = grammar(builder, STRICT)
    value = {"steps": [{"text": "ä\n", "next": {"text": "b"}}], "unit": None, "self": None, "kind": "a"}
    assert tokens.takes(built, json.dumps(value, ensure_ascii=False))
    assert tokens.takes(
        built, json.dumps({**value, "self": value}, ensure_ascii=False, separators=(",", ":"))
    )
    assert not tokens.takes(built, json.dumps({**value, "more": 1}, ensure_ascii=False))
    assert not tokens.takes(built, json.dumps({**value, "unit": "k"}, ensure_ascii=False))


@pytest.mark.parametrize("text", ['{ "a":1}', '{"a" :1}', '{"a":  1}', '{"a":\n1}', '{"a":1 }', '{"a":1}\n'])
def test_space_cannot_go_on_for_ever(builder: GrammarBuilder, tokens: MarkedBytes, text: str):
    """One space behind a comma or a colon is all there can be."""
    assert not tokens.begins(grammar(builder, {"type": "object"}), text)
