"""Mistral: `[TOOL_CALLS]f[ARGS]{...}` for each call, in older models `[TOOL_CALLS][{"name": "f", ...}]`."""

import json
import re
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Steps, marked
from allod.text.scan_json import json_value
from allod.text.tools.envelope import read_call
from allod.text.tools.rules import call_rules

_CALLS = "[TOOL_CALLS]"
_ARGUMENTS = "[ARGS]"
_IDENTIFIER = "[CALL_ID]"
_NAME = re.compile(r"[^\s\[\]{}\"]*")


def _parser(_tools: Sequence[Tool]) -> Parser:
    return ScriptParser(marked((_CALLS,), _calls, strays=(_ARGUMENTS, _IDENTIFIER)))


def _calls(reader: Reader, _mark: str) -> Steps[None]:
    yield from reader.skip_space()
    first = yield from reader.peek()
    if first == "[":
        yield from _list(reader)
    elif first == "{":
        yield from read_call(reader)
    else:
        yield from _named(reader)


def _list(reader: Reader) -> Steps[None]:
    """Objects in brackets, the last of which may be missing at the end of the answer."""
    yield from reader.expect("[")
    separator = ","
    while separator == ",":
        yield from reader.skip_space()
        yield from read_call(reader)
        yield from reader.skip_space()
        following = yield from reader.peek()
        if not following:
            return
        separator = yield from reader.expect(",", "]")


def _named(reader: Reader) -> Steps[None]:
    """One call; between versions of the format the marks before the arguments differ."""
    name = yield from _word(reader)
    if not name:
        raise Malformed
    if (yield from reader.peek()) != "{":
        if (yield from reader.expect(_ARGUMENTS, _IDENTIFIER)) == _IDENTIFIER:
            yield from _word(reader)
            yield from reader.expect(_ARGUMENTS)
        yield from reader.skip_space()
    if (yield from reader.peek()) == "{":
        reader.open(name)
        yield from json_value(reader, reader.argue)
    else:
        yield from reader.expect("null")
        reader.open(name)
    reader.close()


def _word(reader: Reader) -> Steps[str]:
    parts: list[str] = []
    yield from reader.run(_NAME, parts.append)
    yield from reader.skip_space()
    return "".join(parts)


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    """Calls with marks; for a tokenizer that does not have the later ones, also the list of older models."""

    def body(tool: Tool, arguments: str) -> str:
        return f"{spell(_CALLS)} {spell(tool.name)} {spell(_ARGUMENTS)} {arguments}"

    rules = call_rules(tools, body, many=many)
    if spell(_ARGUMENTS) != json.dumps(_ARGUMENTS):
        return rules
    items = [f"item_{number}" for number in range(len(tools))]
    more = f"({spell(', ')} item)*" if many else ""
    lines = [
        "calls: named | listed",
        f"listed: {spell(_CALLS)} {spell('[')} item {more} {spell(']')}",
        f"item: {' | '.join(items)}",
    ]
    for number, tool in enumerate(tools):
        head = spell(f'{{"name": {json.dumps(tool.name)}, "arguments": ')
        lines.append(f"{items[number]}: {head} call_{number}_arguments {spell('}')}")
    return "\n".join(lines) + "\n" + rules.replace("calls:", "named:", 1)


DIALECT = Dialect(
    name="mistral",
    marks=(_CALLS, _ARGUMENTS, _IDENTIFIER),
    fingerprints=((_CALLS,),),
    parser=_parser,
    grammar=_grammar,
    trigger=_CALLS,
)
