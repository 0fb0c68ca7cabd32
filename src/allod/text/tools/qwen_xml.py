r"""Qwen 3 Coder, Qwen 3.5: `<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n...`."""

import re
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Steps, marked
from allod.text.tools.argument_rules import argument_rules, bare_value
from allod.text.tools.arguments import ArgumentWriter
from allod.text.tools.envelope import read_call
from allod.text.tools.rules import bare_call_rules

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_FUNCTION = "<function="
_FUNCTION_END = "</function>"
_PARAMETER = "<parameter="
_PARAMETER_END = "</parameter>"
_NAME = re.compile(r"[^\s<>\"'{}]+")


def _parser(tools: Sequence[Tool]) -> Parser:
    def call(reader: Reader, mark: str) -> Steps[None]:
        yield from _call(reader, mark, tools)

    return ScriptParser(marked((_OPEN, _FUNCTION), call, strays=(_CLOSE,)))


def _call(reader: Reader, mark: str, tools: Sequence[Tool]) -> Steps[None]:
    """One call; its first mark may be missing, and at the end of the answer its last ones."""
    if mark == _OPEN:
        yield from reader.skip_space()
        if (yield from reader.peek()) == "{":
            yield from read_call(reader)
        else:
            yield from reader.expect(_FUNCTION)
            yield from _function(reader, tools)
    else:
        yield from _function(reader, tools)
    yield from reader.skip_space()
    yield from reader.match(_CLOSE)


def _function(reader: Reader, tools: Sequence[Tool]) -> Steps[None]:
    name = yield from _name(reader)
    reader.open(name)
    arguments = ArgumentWriter(reader, tools, name)
    while (yield from _another(reader)):
        key = yield from _name(reader)
        yield from reader.match("\n")
        if not (yield from arguments.read(key, "\n" + _PARAMETER_END, _PARAMETER_END)):
            raise Malformed
    arguments.close()


def _name(reader: Reader) -> Steps[str]:
    """Read the rest of a mark that holds a name."""
    held: list[str] = []
    end = yield from reader.until(">", "\n", sink=held.append)
    name = "".join(held).strip()
    if not end or not _NAME.fullmatch(name):
        raise Malformed
    return name


def _another(reader: Reader) -> Steps[bool]:
    """Whether another parameter follows; if not, the function's end is read."""
    yield from reader.skip_space()
    if (yield from reader.match(_PARAMETER)):
        return True
    following = yield from reader.peek()
    if following or not reader.complete:
        yield from reader.expect(_FUNCTION_END, _CLOSE)
    return False


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    def write(key: str, value: str) -> str:
        return f"{spell(_PARAMETER)} {key} {spell('>' + chr(10))} {value} {spell(chr(10))}"

    rules: list[str] = []

    def body(tool: Tool, arguments: str) -> str:
        rules.extend(argument_rules(tool, arguments, spell, bare_value(spell, _PARAMETER_END, "\n"), write))
        head = spell(f"\n{_FUNCTION}{tool.name}>\n")
        return f"{spell(_OPEN)} {head} {arguments} {spell(_FUNCTION_END + chr(10))} {spell(_CLOSE)}"

    calls = bare_call_rules(tools, body, many=many, between=spell("\n"))
    return calls + "\n".join(rules) + "\n"


DIALECT = Dialect(
    name="qwen_xml",
    marks=(_OPEN, _CLOSE),
    fingerprints=((_OPEN, _FUNCTION, _PARAMETER),),
    parser=_parser,
    grammar=_grammar,
    trigger=_OPEN,
)
