"""The grammar of Gemma's calls: a JSON Schema as rules of a form that is not JSON."""

import json
from collections.abc import Sequence
from typing import cast

from allod.core.tools import Tool
from allod.text.markup import Spell
from allod.text.tools.rules import Schema, mapping, schema_of

_DEPTH = 12
"""How deep a schema is followed; what lies deeper may be anything, also where a schema refers to itself."""
_SCALARS = frozenset(("integer", "number", "boolean", "null"))


def gemma_rules(tools: Sequence[Tool], spell: Spell, *, many: bool, marks: tuple[str, str, str]) -> str:
    """Rules whose `calls` is one call, or with `many` one or more.

    Args:
        tools: what may be called.
        spell: spells the marks.
        many: whether calls may follow one another.
        marks: before a call, after it, and around a string.
    """
    call, call_end, quote = marks
    names = [f"call_{number}" for number in range(len(tools))]
    lines = [f"calls: call{'+' if many else ''}", f"call: {' | '.join(names)}"]
    for name, tool in zip(names, tools, strict=True):
        values = _Values(schema_of(tool), name, spell, quote)
        arguments = values.an_object(schema_of(tool), _DEPTH)
        lines.append(f"{name}: {spell(call)} {spell(f'call:{tool.name}')} {arguments} {spell(call_end)}")
        lines += values.lines
    return "\n".join([*lines, *_shared(spell(quote))]) + "\n"


def _shared(quote: str) -> list[str]:
    """The rules that the terms of any schema refer to."""
    is_plain = quote.startswith('"')
    return [
        f"text[suffix={quote}]: /(?s:.*)/" if is_plain else f"text: /(?s:.*)/ {quote}",
        f"string: {quote} text",
        "any: string | scalar | any_list | any_object",
        'scalar: %json {"type": ["number", "boolean", "null"]}',
        'any_list: "[" (any ("," any)*)? "]"',
        'any_object: "{" (any_member ("," any_member)*)? "}"',
        'any_member: /[A-Za-z0-9_]+/ ":" any',
    ]


class _Values:
    """Terms for the values that the schemas within one root take.

    Attributes:
        lines: the rules that the terms made so far refer to.
    """

    def __init__(self, root: Schema, name: str, spell: Spell, quote: str) -> None:
        self.lines: list[str] = []
        self._root = root
        self._name = name
        self._spell = spell
        self._quote = quote

    def value(self, schema: object, depth: int) -> str:
        """A term for one value."""
        branch = self._resolved(schema)
        if not depth:
            return "any"
        for word in ("anyOf", "oneOf"):
            if choices := _list(branch.get(word)):
                return "(" + " | ".join(self.value(choice, depth - 1) for choice in choices) + ")"
        values = [branch["const"]] if "const" in branch else _list(branch.get("enum"))
        if values:
            return "(" + " | ".join(map(self._literal, values)) + ")"
        kinds = branch.get("type")
        named = [kinds] if isinstance(kinds, str) else [str(kind) for kind in _list(kinds)]
        terms = [self._of_type(kind, branch, depth) for kind in named]
        return f"({' | '.join(terms)})" if terms else "any"

    def an_object(self, schema: object, depth: int) -> str:
        """A term for an object: its properties in the order that the template sorts them in."""
        branch = self._resolved(schema)
        properties = mapping(branch.get("properties"))
        if not properties:
            return "any_object"
        required = _list(branch.get("required"))
        members: list[tuple[str, bool]] = []
        for key in sorted(properties, key=str.lower):
            term = f"{self._spell(f'{key}:')} {self.value(properties[key], depth - 1)}"
            members.append((self._rule(term), key in required))
        return f'"{{" {_listed(members)} "}}"'

    def _rule(self, term: str) -> str:
        name = f"{self._name}_{len(self.lines)}"
        self.lines.append(f"{name}: {term}")
        return name

    def _of_type(self, kind: str, schema: Schema, depth: int) -> str:
        if kind == "string":
            return "string"
        if kind in _SCALARS:
            return f"%json {json.dumps({**schema, 'type': kind})}"
        if kind == "array":
            item = self.value(schema.get("items"), depth - 1)
            return f'"[" ({item} ("," {item})*)? "]"'
        return self.an_object(schema, depth)

    def _literal(self, value: object) -> str:
        if isinstance(value, str):
            return f"{self._spell(self._quote)} {self._spell(value)} {self._spell(self._quote)}"
        return self._spell(json.dumps(value)) if not isinstance(value, (dict, list)) else "any"

    def _resolved(self, schema: object) -> Schema:
        branch = mapping(schema)
        for _ in range(_DEPTH):
            if not isinstance(branch.get("$ref"), str):
                break
            place: object = self._root
            for step in str(branch["$ref"]).removeprefix("#").strip("/").split("/"):
                place = mapping(place).get(step)
            branch = mapping(place)
        return branch


def _listed(members: Sequence[tuple[str, bool]]) -> str:
    """Members with commas between them, each with whether it must be there."""
    first, later = "", ""  # what may come where no member has been written yet, and where one has
    for name, must in reversed(members):
        begun = f"{name} {later}"
        first = begun if must else f"({begun} | {first})" if first else f"({begun})?"
        later = f'"," {name} {later}' if must else f'("," {name})? {later}'
    return first


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
