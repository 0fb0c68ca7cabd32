r"""Hermes, Qwen 2.5, Qwen 3 and many more: `<tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>`."""

import json
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Reader, ScriptParser, Steps, marked
from allod.text.tools.envelope import read_call
from allod.text.tools.rules import call_rules

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"


def _parser(_tools: Sequence[Tool]) -> Parser:
    return ScriptParser(marked((_OPEN,), _calls, strays=(_CLOSE,)))


def _calls(reader: Reader, _mark: str) -> Steps[None]:
    """One object, or by mistake several; the closing mark may be missing, a brace may be too many."""
    yield from reader.skip_space()
    more = True
    while more:
        yield from read_call(reader)
        while (yield from reader.match(*"} \n,")):
            reader.settle()
        more = (yield from reader.peek()) == "{"
    yield from reader.match(_CLOSE)


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    def body(tool: Tool, arguments: str) -> str:
        head = spell(f'\n{{"name": {json.dumps(tool.name)}, "arguments": ')
        tail = spell("}\n")
        return f"{spell(_OPEN)} {head} {arguments} {tail} {spell(_CLOSE)}"

    return call_rules(tools, body, many=many, between=spell("\n"))


DIALECT = Dialect(
    name="hermes",
    marks=(_OPEN, _CLOSE),
    fingerprints=((_OPEN,),),
    parser=_parser,
    grammar=_grammar,
    trigger=_OPEN,
)
