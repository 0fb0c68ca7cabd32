"""GLM 4.5 and later: `<tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value></tool_call>`."""

import re
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Steps, ignore, marked
from allod.text.tools.argument_rules import argument_rules, bare_value
from allod.text.tools.arguments import ArgumentWriter
from allod.text.tools.envelope import read_call
from allod.text.tools.framed import held_until
from allod.text.tools.rules import bare_call_rules

_CALL = "<tool_call>"
_CALL_END = "</tool_call>"
_KEY = "<arg_key>"
_KEY_END = "</arg_key>"
_VALUE = "<arg_value>"
_VALUE_END = "</arg_value>"
_STRAYS = (_CALL_END, _KEY, _KEY_END, _VALUE, _VALUE_END)

_NAME = re.compile(r"[\w.\-/:]+")


def _parser(tools: Sequence[Tool]) -> Parser:
    def call(reader: Reader, _mark: str) -> Steps[None]:
        yield from reader.skip_space()
        if (yield from reader.peek()) == "{":  # GLM falls back to the form most other models use
            yield from read_call(reader)
            return
        name, mark = yield from held_until(reader, _CALL, *_STRAYS)
        over = mark == _CALL_END or (not mark and reader.complete)
        if not _NAME.fullmatch(name) or not (over or mark == _KEY):
            raise Malformed
        reader.open(name)
        arguments = ArgumentWriter(reader, tools, name)
        while mark == _KEY:
            yield from _argument(reader, arguments)
            mark = yield from reader.until(_KEY, _CALL_END, sink=ignore)
        if not mark and not reader.complete:
            raise Malformed
        arguments.close()

    return ScriptParser(marked((_CALL,), call, _STRAYS))


def _argument(reader: Reader, arguments: ArgumentWriter) -> Steps[None]:
    key, mark = yield from held_until(reader, _KEY_END, _VALUE, _CALL_END)
    if not key or mark != _KEY_END:
        raise Malformed
    yield from reader.skip_space()
    yield from reader.expect(_VALUE)
    if not (yield from arguments.read(key, _VALUE_END)):
        raise Malformed


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    """The newlines that 4.5 and 4.6 write and 4.7 does not may be there or not."""
    line = f"{spell(chr(10))}?"
    rules: list[str] = []

    def write(key: str, value: str) -> str:
        return f"{line} {spell(_KEY)} {key} {spell(_KEY_END)} {line} {spell(_VALUE)} {value}"

    def body(tool: Tool, arguments: str) -> str:
        rules.extend(argument_rules(tool, arguments, spell, bare_value(spell, _VALUE_END), write))
        return f"{spell(_CALL)} {spell(tool.name)} {arguments} {line} {spell(_CALL_END)}"

    calls = bare_call_rules(tools, body, many=many, between=line)
    return calls + "\n".join(rules) + "\n"


DIALECT = Dialect(
    name="glm",
    marks=(_CALL, *_STRAYS),
    fingerprints=((_KEY, _KEY_END, _VALUE, _VALUE_END),),
    parser=_parser,
    grammar=_grammar,
    trigger=_CALL,
)
