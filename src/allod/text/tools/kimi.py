"""Kimi K2: `<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{...}<|tool_call_end|>`."""

import re
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Steps, marked
from allod.text.tools.framed import held_until, read_framed
from allod.text.tools.rules import call_rules

_SECTION = "<|tool_calls_section_begin|>"
_SECTION_END = "<|tool_calls_section_end|>"
_CALL = "<|tool_call_begin|>"
_ARGUMENTS = "<|tool_call_argument_begin|>"
_CALL_END = "<|tool_call_end|>"
_ODD_SECTION = "<|tool_call_section_begin|>"  # K2 writes the section's marks in the singular now and then
_ODD_SECTION_END = "<|tool_call_section_end|>"

_IDENTIFIER = re.compile(r"(?:functions[._]?)?(?P<name>.*?)(?:[:_]?\d+)?", re.DOTALL)
_WORD = re.compile(r"[\w.\-/]+")


def _parser(tools: Sequence[Tool]) -> Parser:
    offered = frozenset(tool.name for tool in tools)

    def calls(reader: Reader, mark: str) -> Steps[None]:
        if mark in (_SECTION, _ODD_SECTION):
            yield from reader.skip_space()
            return
        while mark == _CALL:
            reader.settle()
            identifier, mark = yield from held_until(reader, _ARGUMENTS, _CALL, _CALL_END, _SECTION_END)
            if mark != _ARGUMENTS:
                raise Malformed
            name = _name_in(identifier, offered)
            mark = yield from read_framed(reader, name, _CALL_END, _CALL, _SECTION_END, _ODD_SECTION_END)

    strays = (_SECTION_END, _ODD_SECTION_END, _ARGUMENTS, _CALL_END)
    return ScriptParser(marked((_SECTION, _ODD_SECTION, _CALL), calls, strays))


def _name_in(identifier: str, offered: frozenset[str]) -> str:
    """The tool that `functions.f:0` names; empty where there is no name.

    K2 repeats identifiers as clients send them back, often with `_` for `.` and `:` or without them, so
    that a name that is offered counts before one that is only read off.
    """
    bare = identifier.removeprefix("functions").lstrip("._")
    for candidate in (identifier, bare, bare.rstrip("0123456789"), bare.rstrip("0123456789").rstrip(":_")):
        if candidate in offered:
            return candidate
    found = _IDENTIFIER.fullmatch(identifier)
    name = found["name"] if found else ""
    return name if _WORD.fullmatch(name) else ""


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    def body(tool: Tool, arguments: str) -> str:
        head = f"{spell(_CALL)} {spell(f'functions.{tool.name}:')} /[0-9]+/ {spell(_ARGUMENTS)}"
        return f"{head} {arguments} {spell(_CALL_END)}"

    return call_rules(tools, body, many=many, before=spell(_SECTION), after=spell(_SECTION_END))


DIALECT = Dialect(
    name="kimi",
    marks=(_SECTION, _SECTION_END, _CALL, _ARGUMENTS, _CALL_END, _ODD_SECTION, _ODD_SECTION_END),
    fingerprints=((_CALL, _ARGUMENTS), ("<|im_system|>tool_declare<|im_middle|>",)),
    parser=_parser,
    grammar=_grammar,
    trigger=_SECTION,
)
