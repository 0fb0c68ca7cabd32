"""Granite 3: `<|tool_call|>[{"name": "f", "arguments": {...}}]`. Granite 4 writes as Hermes does."""

from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Reader, ScriptParser, Steps, marked
from allod.text.tools.listed import list_rules, read_list

_CALLS = "<|tool_call|>"
_ODD_CALLS = "<tool_call>"  # as Granite 3.1 writes it now and then
_ODD_CALLS_END = "</tool_call>"


def _parser(_tools: Sequence[Tool]) -> Parser:
    return ScriptParser(marked((_CALLS, _ODD_CALLS), _calls, (_ODD_CALLS_END,)))


def _calls(reader: Reader, _mark: str) -> Steps[None]:
    yield from read_list(reader)


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    return list_rules(tools, spell, many=many, marks=(_CALLS, ""))


DIALECT = Dialect(
    name="granite",
    marks=(_CALLS, _ODD_CALLS, _ODD_CALLS_END),
    fingerprints=(
        ("<|start_of_role|>", "followed by a JSON list of tools used"),
        ("<|start_of_role|>available_tools<|end_of_role|>", _CALLS),
    ),
    parser=_parser,
    grammar=_grammar,
    trigger=_CALLS,
)
