"""Arguments that come one by one as bare text between marks; the tool's schema tells what they are."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import cast

from allod.core.tools import Tool
from allod.text.scan import Reader, Sink, Steps, ignore
from allod.text.tools.rules import Schema, mapping, schema_of

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
TEXT = frozenset(("string",))
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
_TYPES: tuple[tuple[type, str], ...] = (
    (type(None), "null"),
    (bool, "boolean"),  # before int, which it is a kind of
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)
_MOST_REFERENCES = 8


class ArgumentWriter:
    """Writes the open call's arguments as one JSON object while they come.

    A value whose type is string is passed on as it comes; other values are held until they are whole.
    A key that comes again is left out.

    Args:
        reader: its call is open.
        tools: what is offered.
        name: the tool that is called; one that is not offered has values of unknown type.
    """

    def __init__(self, reader: Reader, tools: Sequence[Tool], name: str) -> None:
        self._reader = reader
        self._types = argument_types(next((tool for tool in tools if tool.name == name), Tool(name)))
        self._keys: set[str] = set()

    def read(self, key: str, *ends: str, types: frozenset[str] | None = None) -> Steps[str]:
        """Read the value up to one of the end marks, which is returned; empty where the answer ends.

        `types` is what the model itself says of the value; None asks the schema.
        """
        types = self._types.get(key, frozenset()) if types is None else types
        if key in self._keys:
            return (yield from self._reader.until(*ends, sink=ignore))
        self._start(key)
        if types == TEXT:
            return (yield from self._read_text(*ends))
        held: list[str] = []
        end = yield from self._reader.until(*ends, sink=held.append)
        while end and "string" not in types and _breaks_off("".join(held)):
            held.append(end)
            end = yield from self._reader.until(*ends, sink=held.append)
        if end:
            self._reader.argue(as_json("".join(held), types))
        return end

    def write(self, key: str, value: str) -> None:
        """Add one argument whose whole text is known."""
        if key not in self._keys:
            self._start(key)
            self._reader.argue(as_json(value, self._types.get(key, frozenset())))

    def write_json(self, key: str, value: str) -> None:
        """Add one argument whose whole JSON text is known."""
        if key not in self._keys:
            self._start(key)
            self._reader.argue(value)

    def close(self) -> None:
        """The object and the call are complete."""
        self._reader.argue("}" if self._keys else "{}")
        self._reader.close()

    def _start(self, key: str) -> None:
        before = ", " if self._keys else "{"
        self._keys.add(key)
        self._reader.argue(f"{before}{json.dumps(key, ensure_ascii=False)}: ")

    def _read_text(self, *ends: str) -> Steps[str]:
        reader = self._reader
        reader.argue('"')
        end = yield from reader.until(*ends, sink=quoting(reader.argue))
        if end:
            reader.argue('"')
        return end


def quoting(sink: Sink) -> Sink:
    """A sink that passes text on as the inside of a JSON string."""
    return lambda text: sink(json.dumps(text, ensure_ascii=False)[1:-1])


def as_json(text: str, types: frozenset[str]) -> str:
    """The JSON text that a bare value stands for.

    A value that can be a string is one unless it reads as another of its types. All others, also those
    of unknown type, are JSON where they read as JSON, and a string where they do not.
    """
    if types != TEXT:
        bare = _PYTHON_WORDS.get(text.strip(), text.strip())
        kind = _type_of(bare)
        if kind and ("string" not in types or _is_other(kind, types)):
            return bare
    return json.dumps(text, ensure_ascii=False)


def _is_other(kind: str, types: frozenset[str]) -> bool:
    return kind in types - TEXT or (kind == "integer" and "number" in types)


def argument_types(tool: Tool) -> Mapping[str, frozenset[str]]:
    """The JSON types that each property of the tool's schema can have; empty where it does not say."""
    root = schema_of(tool)
    properties = mapping(root.get("properties"))
    return {key: _types(mapping(value), root, _MOST_REFERENCES) for key, value in properties.items()}


def _types(schema: Schema, root: Schema, references: int) -> frozenset[str]:
    """The types a schema allows; empty for any."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and references:
        return _types(_referred(reference, root), root, references - 1)
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset((named,))
    if isinstance(named, list):
        return frozenset(str(item) for item in cast("list[object]", named))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return frozenset(_type_of(json.dumps(value)) for value in cast("list[object]", values))
    return _types_of_choices(schema, root, references)


def _types_of_choices(schema: Schema, root: Schema, references: int) -> frozenset[str]:
    for word in ("anyOf", "oneOf", "allOf"):
        choices = schema.get(word)
        if isinstance(choices, list) and references:
            found = [_types(mapping(item), root, references - 1) for item in cast("list[object]", choices)]
            return frozenset[str]().union(*found) if all(found) else frozenset()
    return frozenset()


def _referred(reference: str, root: Schema) -> Schema:
    place: object = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        place = mapping(place).get(step)
    return mapping(place)


def _type_of(text: str) -> str:
    """The JSON type of a JSON text; empty where it is none."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return ""
    return next(name for kind, name in _TYPES if isinstance(value, kind))


def _breaks_off(text: str) -> bool:
    """Whether this is a JSON list or object up to the middle of a string, where a mark is no mark."""
    return text.lstrip()[:1] in ("[", "{") and '"' in _STRINGS.sub("", text)


def _refuse(word: str) -> None:
    raise ValueError(word)
