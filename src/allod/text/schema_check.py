"""What of a JSON Schema masks enforce. Whatever they would let pass unchecked is refused by its name.

The library reads an unknown keyword as no keyword, as the standard allows: a typing error would silently
take a rule away, and so would a keyword newer than the draft that `$schema` names. So a schema is
rewritten here to the keywords that are enforced, read as the newest draft; annotations are dropped.
"""

import json
from collections.abc import Callable
from typing import cast

import msgspec

from allod.core.errors import InvalidRequest

MOST_SCHEMA_CHARS = 256 * 1024
_MOST_DEPTH = 64

_ENFORCED = frozenset((
    "type", "enum", "const", "minLength", "maxLength", "pattern", "format", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "required",
    "minProperties", "maxProperties", "$ref", "$id", "$anchor",
))  # fmt: skip
_ONE_SCHEMA = frozenset((
    "items", "additionalItems", "additionalProperties",
))  # fmt: skip
_LISTS_OF_SCHEMAS = frozenset((
    "anyOf", "oneOf", "allOf", "prefixItems",
))  # fmt: skip
_NAMED_SCHEMAS = frozenset((
    "properties", "patternProperties", "$defs", "definitions",
))  # fmt: skip
_ANNOTATIONS = frozenset((
    "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly",
    "$schema", "$comment", "id", "contentEncoding", "contentMediaType", "contentSchema",
    "discriminator", "externalDocs", "xml", "propertyOrdering", "markdownDescription",
    "enumDescriptions",
))  # fmt: skip
_NEUTRAL: dict[str, object] = {"uniqueItems": False, "nullable": False, "unevaluatedProperties": True}
"""Keywords that are not enforced and, with this value, need not be."""

_WAYS_OUT = {
    "nullable": 'write {"type": [..., "null"]} instead',
    "dependencies": "use anyOf over the allowed combinations",
    "not": "say what is allowed instead",
    "if": "use anyOf over the allowed combinations",
}

_WRITING = {
    # One line, with at most one space behind a comma or a colon: the two spellings that models are used
    # to stay open, and there is no place where a small model could write spaces for ever.
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    # Without \u a key has one spelling, so that none can slip past the rules of the key it stands for.
    "json_allowed_escapes": 'nrbtf\\"',
    "lenient": False,
    "coerce_one_of": False,
}


def enforceable(schema: str, param: str, *, must_be_object: bool = False) -> str:
    """A schema as masks enforce it: JSON text that says the same, with how the JSON is to be written.

    Args:
        schema: JSON text.
        param: the field it came from.
        must_be_object: the value is an object also where the schema does not say so.

    Raises:
        InvalidRequest: it is no schema, or holds a rule that is not enforced.
    """
    if len(schema) > MOST_SCHEMA_CHARS:
        raise _refused(param, "", f"it has {len(schema)} characters, and {MOST_SCHEMA_CHARS} are read")
    try:
        read: object = msgspec.json.decode(schema)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(param, "", f"it is not JSON: {error}") from error
    if must_be_object and isinstance(read, dict):
        read = _with_object(cast("dict[str, object]", read), param)
    rewritten = _Walk(param).schema(read, "", 0)
    whole = rewritten if isinstance(rewritten, dict) else _of_boolean(rewritten, param)
    return json.dumps({**whole, "x-guidance": _WRITING})


ANY_OBJECT = json.dumps({"type": "object", "x-guidance": _WRITING})
"""The schema of any one object, written the same way."""


class _Walk:
    """Rewrites one schema; `place` is a JSON pointer for messages."""

    def __init__(self, param: str) -> None:
        self._param = param

    def schema(self, schema: object, place: str, depth: int) -> dict[str, object] | bool:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise _refused(self._param, place, "a schema is an object, true or false")
        if depth > _MOST_DEPTH:
            raise _refused(self._param, place, f"it is nested deeper than {_MOST_DEPTH} levels; use $ref")
        found = cast("dict[str, object]", schema)
        kept: dict[str, object] = {}
        for keyword, value in found.items():
            rewrite = self._rewriter(keyword, value, place)
            if rewrite is not None:
                kept[keyword] = rewrite(value, f"{place}/{keyword}", depth + 1)
        self._check_numbers(found, place)
        return kept

    def _rewriter(
        self, keyword: str, value: object, place: str
    ) -> Callable[[object, str, int], object] | None:
        """How a keyword's value is rewritten; None drops it."""
        if keyword in _ENFORCED:
            return _as_it_is
        if keyword in _LISTS_OF_SCHEMAS or (keyword == "items" and isinstance(value, list)):
            return self._list
        if keyword in _ONE_SCHEMA:
            return self.schema
        if keyword in _NAMED_SCHEMAS:
            return self._named
        if keyword in _ANNOTATIONS or keyword.startswith("x-") or _is_neutral(keyword, value):
            return None
        way_out = _WAYS_OUT.get(keyword, "remove it, or check the answer yourself")
        raise _refused(self._param, place, f"the keyword '{keyword}' is not enforced here; {way_out}")

    def _list(self, schemas: object, place: str, depth: int) -> list[object]:
        if not isinstance(schemas, list):
            raise _refused(self._param, place, "a list of schemas belongs here")
        each = cast("list[object]", schemas)
        return [self.schema(schema, f"{place}/{index}", depth) for index, schema in enumerate(each)]

    def _named(self, schemas: object, place: str, depth: int) -> dict[str, object]:
        if not isinstance(schemas, dict):
            raise _refused(self._param, place, "an object of schemas belongs here")
        each = cast("dict[str, object]", schemas)
        return {name: self.schema(schema, f"{place}/{name}", depth) for name, schema in each.items()}

    def _check_numbers(self, schema: dict[str, object], place: str) -> None:
        for keyword in ("exclusiveMinimum", "exclusiveMaximum"):
            if isinstance(schema.get(keyword), bool):
                raise _refused(self._param, place, f"'{keyword}' is a number since draft 6, not a boolean")
        least, required = schema.get("minProperties", 0), schema.get("required", [])
        named = len(cast("list[object]", required)) if isinstance(required, list) else 0
        if isinstance(least, int) and least > max(1, named):
            # Keys that no property names may come twice, and then count twice.
            reason = "'minProperties' above 1 is enforced only for keys in 'required'; name them there"
            raise _refused(self._param, place, reason)


def _as_it_is(value: object, _place: str, _depth: int) -> object:
    return value


def _is_neutral(keyword: str, value: object) -> bool:
    return keyword in _NEUTRAL and value is _NEUTRAL[keyword]


def _with_object(schema: dict[str, object], param: str) -> dict[str, object]:
    if schema.get("type", "object") != "object":
        raise _refused(param, "", "arguments are one object, so its type is 'object'")
    return {"type": "object", **schema}


def _of_boolean(allows: bool, param: str) -> dict[str, object]:
    if not allows:
        raise _refused(param, "", "the schema false allows no answer")
    return {}


def _refused(param: str, place: str, problem: str) -> InvalidRequest:
    where = f" at '#{place}'" if place else ""
    return InvalidRequest(f"{param}{where}: {problem}", param=param)
