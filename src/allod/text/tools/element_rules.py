"""The grammar of arguments as elements, each tag behind a mark: a JSON Schema as rules of tags and text."""

import json
from typing import cast

from allod.text.markup import Spell
from allod.text.tools.rules import Schema, mapping

_DEPTH = 12
_SCALARS = ("integer", "number", "boolean", "null")


def element_rules(root: Schema, name: str, spell: Spell, mark: str) -> list[str]:
    """Rules for the arguments of a tool up to the mark before its closing tag, the first of this name.

    An object that names no properties has none, as there is no telling what its tags would be. Text up
    to a mark, with it, is the rule `mark_text`, which the caller writes.
    """
    elements = _Elements(root, name, spell, mark)
    return [f"{name}: {elements.members(root, _DEPTH)}", *elements.lines]


class _Elements:
    """Terms for what stands between an element's tags, with the mark of the closing one.

    Attributes:
        lines: the rules that the terms made so far refer to.
    """

    def __init__(self, root: Schema, name: str, spell: Spell, mark: str) -> None:
        self.lines: list[str] = []
        self._root = root
        self._name = name
        self._spell = spell
        self._mark = mark

    def members(self, schema: Schema, depth: int) -> str:
        """A term for the elements of an object's properties."""
        required = schema.get("required")
        needed = cast("list[object]", required) if isinstance(required, list) else []
        terms = [
            self._element(key, mapping(value), depth - 1) + ("" if key in needed else "?")
            for key, value in mapping(schema.get("properties")).items()
        ]
        return " ".join([*terms, self._spell(self._mark)])

    def _element(self, tag: str, schema: Schema, depth: int) -> str:
        number = len(self.lines)
        self.lines.append("")
        name = f"{self._name}_{number}"
        opening = f"{self._spell(self._mark)} {self._spell(f'<{tag}>')}"
        closing = self._spell(f"</{tag}>") + f" {self._spell(chr(10))}?"
        self.lines[number] = f"{name}: {opening} {self._content(schema, depth)} {closing}"
        return name

    def _content(self, schema: Schema, depth: int) -> str:
        kind = schema.get("type")
        mark = self._spell(self._mark)
        values = schema.get("enum")
        if isinstance(values, list) and values:
            words = (
                value if isinstance(value, str) else json.dumps(value)
                for value in cast("list[object]", values)
            )
            return f"({' | '.join(map(self._spell, words))}) {mark}"
        if kind in _SCALARS:
            return f"%json {json.dumps(schema)} {mark}"
        if kind == "array":
            items = f"{self._element('item', mapping(schema.get('items')), depth - 1)}*" if depth else ""
            return f"{items} {mark}"
        if kind == "object":
            return self.members(schema, depth) if depth else mark
        return "mark_text"
