"""Phi 4 mini: `<|tool_call|>[{"name": "f", "arguments": {...}}]<|/tool_call|>`, or `functools[...]`."""

from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Reader, ScriptParser, Steps
from allod.text.tools.envelope import read_call
from allod.text.tools.listed import list_rules, read_list, read_rest

_CALLS = "<|tool_call|>"
_CALLS_END = "<|/tool_call|>"
_WORD_LIST = "functools["


def _parser(_tools: Sequence[Tool]) -> Parser:
    return ScriptParser(_answer)


def _answer(reader: Reader) -> Steps[None]:
    marks = (_CALLS, _CALLS_END, _WORD_LIST)
    while mark := (yield from reader.until(*marks, sink=reader.say, trim=(_CALLS,))):
        if mark == _WORD_LIST:
            reader.rewind()
            yield from _worded(reader)
        else:
            reader.settle()
        if mark == _CALLS:
            yield from reader.call(_calls(reader))


def _calls(reader: Reader) -> Steps[None]:
    yield from read_list(reader)
    yield from reader.match(_CALLS_END)


def _worded(reader: Reader) -> Steps[None]:
    """Read the list that prompts ask for, from before the word; the word alone is one like any other."""
    if (yield from reader.bare_call(_first_worded(reader))):
        yield from reader.call(read_rest(reader))
    else:
        reader.say((yield from reader.match(_WORD_LIST)))


def _first_worded(reader: Reader) -> Steps[None]:
    yield from reader.expect(_WORD_LIST)
    yield from reader.skip_space()
    yield from read_call(reader)


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    return list_rules(tools, spell, many=many, marks=(_CALLS, _CALLS_END))


DIALECT = Dialect(
    name="phi",
    marks=(_CALLS, _CALLS_END),
    fingerprints=(("<|tool|>", "<|/tool|>"), ("<|/tool_call|>",), (_WORD_LIST,)),
    parser=_parser,
    grammar=_grammar,
    trigger=_CALLS,
)
