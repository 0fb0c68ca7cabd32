"""Calls that no mark tells from text, as Llama models write them.

An answer, or what follows a mark, is calls when it begins with one; else it is text. What models write does
not always follow the form that their template shows, so every form is read in all of them:

    {"name": "f", "parameters": {...}}; {...}        objects, parted by semicolons or lines
    [{"name": "f", "parameters": {...}}, {...}]      a list of objects
    [f(a=1, b="x"), g()]                             Python calls
"""

import json
import re
from collections.abc import Collection, Sequence

from allod.core.tools import Tool
from allod.text.markup import Parser
from allod.text.scan import Malformed, Reader, ScriptParser, Steps
from allod.text.tools.envelope import read_call
from allod.text.tools.literal import read_literal, read_separator

PYTHON_TAG = "<|python_tag|>"
PYTHON_START = "<|python_start|>"
PYTHON_END = "<|python_end|>"
MARKS = (PYTHON_TAG, PYTHON_START, PYTHON_END)

_NAME = re.compile(r"[\w.\-]*")
_BETWEEN = tuple(" \n\r\t;,")


def unmarked_parser(tools: Sequence[Tool]) -> Parser:
    """A parser of all forms; only names of these tools make a call."""
    return ScriptParser(_Unmarked(frozenset(tool.name for tool in tools)).answer)


class _Unmarked:
    """Reads one answer."""

    def __init__(self, offered: Collection[str]) -> None:
        self._offered = offered

    def answer(self, reader: Reader) -> Steps[None]:
        yield from self._bare_calls(reader)
        while mark := (yield from reader.until(*MARKS, sink=reader.say, trim=MARKS)):
            reader.settle()
            if mark != PYTHON_END:
                yield from reader.call(self._calls(reader))
            yield from self._bare_calls(reader)

    def _bare_calls(self, reader: Reader) -> Steps[None]:
        while (yield from reader.bare_call(self._calls(reader))):
            while (yield from reader.match(*_BETWEEN)):
                reader.settle()

    def _calls(self, reader: Reader) -> Steps[None]:
        """One object, or one list."""
        yield from reader.skip_space()
        more = bool((yield from reader.match("[")))
        if not more:
            yield from read_call(reader, offered=self._offered)
        while more:
            yield from reader.skip_space()
            if (yield from reader.peek()) == "{":
                yield from read_call(reader, offered=self._offered)
            else:
                yield from self._python_call(reader)
            yield from reader.skip_space()
            more = (yield from reader.expect(",", "]")) == ","

    def _python_call(self, reader: Reader) -> Steps[None]:
        """One call; it opens when its first keyword, or its end, shows that it is one."""
        name = yield from _word(reader)
        yield from reader.expect("(")
        if name not in self._offered:
            raise Malformed
        yield from reader.skip_space()
        if (yield from reader.match(")")):
            reader.open(name)
        else:
            yield from _keywords(reader, name)
        reader.close()


def _keywords(reader: Reader, name: str) -> Steps[None]:
    """Read `a=1, b="x")`; a comma may stand before the end."""
    before, over = "{", False
    while not over:
        key = yield from _word(reader)
        yield from reader.skip_space()
        yield from reader.expect("=")
        if not key:
            raise Malformed
        if not reader.opened:
            reader.open(name)
        reader.argue(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
        yield from read_literal(reader, reader.argue)
        before = ", "
        over = yield from read_separator(reader, ")")
    reader.argue("}")


def _word(reader: Reader) -> Steps[str]:
    parts: list[str] = []
    yield from reader.run(_NAME, parts.append)
    return "".join(parts)
