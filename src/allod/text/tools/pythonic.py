"""Llama 4 and some of Llama 3.2: the whole answer is `[f(a=1, b="x"), g()]`."""

import json
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Spell
from allod.text.tools.argument_rules import argument_rules
from allod.text.tools.rules import Schema, bare_call_rules
from allod.text.tools.unmarked import MARKS, unmarked_parser


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    rules: list[str] = []

    def body(tool: Tool, arguments: str) -> str:
        rules.extend(argument_rules(tool, arguments, spell, _value, _keyword, between=spell(", ")))
        return f"{spell(tool.name)} {spell('(')} {arguments} {spell(')')}"

    def _keyword(key: str, value: str) -> str:
        return f"{key} {spell('=')} {value}"

    calls = bare_call_rules(tools, body, many=many, between=spell(", "), before=spell("["), after=spell("]"))
    return calls + "\n".join(rules) + "\n"


def _value(name: str, types: frozenset[str], schema: Schema) -> list[str]:
    """Rules for a value: JSON, except that Python's words stand where a word is the whole value."""
    words = [word for kind, word in _WORDS if kind in types]
    if types and types <= {"boolean", "null"} and "enum" not in schema and "const" not in schema:
        return [f"{name}: {' | '.join(words)}"]
    return [f"{name}: %json {json.dumps(schema)}"]


_WORDS = (("boolean", '"True" | "False"'), ("null", '"None"'))

DIALECT = Dialect(
    name="pythonic",
    marks=MARKS,
    fingerprints=(
        ("<|header_start|>", "[func_name1(param"),
        ("<|start_header_id|>", "[func_name1(param"),
    ),
    parser=unmarked_parser,
    grammar=_grammar,
    trigger="[",
    ending=("<|eom|>", "<|eom_id|>"),
)
