"""Calls as a JSON list of objects of a name and arguments: `[{"name": "f", "arguments": {...}}]`."""

import json
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Spell
from allod.text.scan import Malformed, Reader, Steps
from allod.text.tools.envelope import read_call
from allod.text.tools.rules import call_rules


def read_list(reader: Reader) -> Steps[None]:
    """Read a list of calls, or by mistake calls without the brackets."""
    yield from reader.skip_space()
    bracket = yield from reader.match("[")
    yield from reader.skip_space()
    following = yield from reader.peek()
    if following != "{" and (following != "]" or not bracket):
        raise Malformed
    yield from read_rest(reader)


def read_rest(reader: Reader) -> Steps[None]:
    """Read what is left of a list: calls, commas, and the bracket at the end."""
    more = True
    while more:
        while (yield from reader.match(*" \n,")):
            reader.settle()
        more = (yield from reader.peek()) == "{"
        if more:
            yield from read_call(reader)
    yield from reader.match("]")


def list_rules(tools: Sequence[Tool], spell: Spell, *, many: bool, marks: tuple[str, str]) -> str:
    """The grammar of a list between two marks, of which the last may be empty."""

    def body(tool: Tool, arguments: str) -> str:
        head = spell(f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "arguments": ')
        return f"{head} {arguments} {spell('}')}"

    opening, closing = marks
    before = f"{spell(opening)} {spell('[')}"
    after = f"{spell(']')} {spell(closing)}" if closing else spell("]")
    return call_rules(tools, body, many=many, between=spell(", "), before=before, after=after)
