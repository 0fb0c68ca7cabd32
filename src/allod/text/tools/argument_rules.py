"""Grammars of arguments that are written one by one, each by a rule of its own."""

import json
from collections.abc import Callable
from typing import cast

from allod.core.tools import Tool
from allod.text.markup import Spell
from allod.text.tools.arguments import TEXT, argument_types
from allod.text.tools.rules import Schema, mapping, schema_of

ValueRules = Callable[[str, frozenset[str], Schema], list[str]]
"""Rules for a value, the first of this name, from the JSON types it can have (empty: any) and its schema."""

ANY_TEXT = "/(?s:.*)/"
_ANY_KEY = r"/[A-Za-z_][A-Za-z0-9_.\-]{0,63}/"


def argument_rules(
    tool: Tool,
    name: str,
    spell: Spell,
    value_rules: ValueRules,
    write: Callable[[str, str], str],
    between: str = "",
) -> list[str]:
    """Rules for all arguments of a tool, the first of which has this name.

    Properties come in the order of the schema, and those that are not required may be missing. A schema
    that names no properties takes any.

    Args:
        tool: whose arguments.
        name: begins the names of all rules made.
        spell: spells keys.
        value_rules: makes the rules of a value.
        write: one argument as terms, from the term of its key and the name of its value's rule.
        between: the term that separates arguments.
    """
    root = schema_of(tool)
    if "properties" not in root:
        one = write(f"{name}_key", f"{name}_any")
        lines = [f"{name}: ({one} ({between} {one})*)?", f"{name}_key: {_ANY_KEY}"]
        return lines + value_rules(f"{name}_any", frozenset(), {})
    types = argument_types(tool)
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    required = cast("list[object]", root["required"]) if isinstance(root.get("required"), list) else []
    lines = [f"{name}: {name}_first_0"]
    properties = mapping(root["properties"])
    for number, (key, schema) in enumerate(properties.items()):
        one, value = write(spell(key), f"{name}_{number}"), f"{name}_{number}"
        for chain, joint in ((f"{name}_first", ""), (f"{name}_more", between)):
            skip = "" if key in required else f" | {chain}_{number + 1}"
            lines.append(f"{chain}_{number}: {joint} {one} {name}_more_{number + 1}{skip}")
        lines += value_rules(value, types[key], {**definitions, **mapping(schema)})
    last = len(properties)
    return [*lines, f'{name}_first_{last}: ""', f'{name}_more_{last}: ""']


def bare_value(spell: Spell, end: str, gap: str = "") -> ValueRules:
    """Rules for values as bare text up to an end mark; a string is any text without the mark.

    Args:
        spell: spells the marks.
        end: the mark.
        gap: text between a value that is no string and the mark.
    """
    stop = spell(end)

    def rules(name: str, types: frozenset[str], schema: Schema) -> list[str]:
        if types and "string" not in types:
            return [f"{name}: {name}_json {spell(gap + end)}", f"{name}_json: %json {json.dumps(schema)}"]
        choices = schema.get("enum")
        if isinstance(choices, list) and types == TEXT:
            texts = (choice for choice in cast("list[object]", choices) if isinstance(choice, str))
            return [f"{name}: ({' | '.join(map(_quoted, texts))}) {spell(gap + end)}"]
        if stop == _quoted(end):
            return [f"{name}[lazy]: {ANY_TEXT} {stop}"]
        return [f"{name}: {ANY_TEXT} {stop}"]

    return rules


def json_value_rules(name: str, _types: frozenset[str], schema: Schema) -> list[str]:
    """Rules for values as JSON."""
    return [f"{name}: %json {json.dumps(schema)}"]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
