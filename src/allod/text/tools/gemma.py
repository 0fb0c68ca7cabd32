"""Gemma 4: `<|tool_call>call:f{k:<|"|>v<|"|>,n:1}<tool_call|>`; FunctionGemma: the same with other marks.

Gemma 3 has no form of its own: its template does not know tools.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Sink, Steps, ignore, marked
from allod.text.scan_json import json_value
from allod.text.tools.arguments import argument_types, as_json, quoting
from allod.text.tools.gemma_rules import gemma_rules

_PREFIX = "call:"
_NAME = re.compile(r"[\w.\-:/]*")
_WORD = re.compile(r"[^,{}\[\]<]*")
_KEY = re.compile(r"[^:=,{}\[\]<\"'\n]*")
_APOSTROPHES = re.compile(r"[^'\\]*")
_PYTHON_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_CLOSERS = {"{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one of the two.

    Attributes:
        call: before a call.
        call_end: after it.
        quote: before and after a string.
    """

    call: str
    call_end: str
    quote: str


def _parser(marks: Marks) -> Callable[[Sequence[Tool]], Parser]:
    def parser(tools: Sequence[Tool]) -> Parser:
        def call(reader: Reader, _mark: str) -> Steps[None]:
            yield from reader.skip_space()
            yield from reader.expect(_PREFIX)
            name: list[str] = []
            yield from reader.run(_NAME, name.append)
            yield from _Arguments(reader, tools, "".join(name), marks).read()

        return ScriptParser(marked((marks.call,), call, (marks.call_end, marks.quote)))

    return parser


class _Arguments:
    """Writes the arguments as JSON while they come; a stack stands for nesting, which has no limit."""

    def __init__(self, reader: Reader, tools: Sequence[Tool], name: str, marks: Marks) -> None:
        self._reader = reader
        self._name = name
        self._types = argument_types(next((tool for tool in tools if tool.name == name), Tool(name)))
        self._marks = marks
        self._closers: list[str] = []

    def read(self) -> Steps[None]:
        """Read from the brace after the name to the mark at the end."""
        reader = self._reader
        yield from reader.skip_space()
        if not self._name or (yield from reader.peek()) != "{":
            raise Malformed
        reader.open(self._name)
        yield from self._object()
        end = yield from reader.until(self._marks.call_end, sink=ignore)
        if not end and not reader.complete:
            raise Malformed
        reader.close()

    def _object(self) -> Steps[None]:
        reader = self._reader
        fresh = yield from self._bracket()
        while self._closers:
            yield from reader.skip_space()
            if (yield from reader.match(self._closers[-1])):
                reader.argue(self._closers.pop())
                fresh = False
                continue
            if not fresh:
                yield from reader.expect(",")
                yield from reader.skip_space()
                if (yield from reader.peek()) == self._closers[-1]:
                    continue  # a comma too many
                reader.argue(", ")
            fresh = yield from self._member()

    def _bracket(self) -> Steps[bool]:
        bracket = yield from self._reader.take()
        self._reader.argue(bracket)
        self._closers.append(_CLOSERS[bracket])
        return True

    def _member(self) -> Steps[bool]:
        """Read a value, in an object with its key; True if it is a bracket that opens."""
        reader = self._reader
        types: frozenset[str] = frozenset()
        if self._closers[-1] == "}":
            key = yield from self._key()
            reader.argue(f"{json.dumps(key, ensure_ascii=False)}: ")
            types = self._types.get(key, types) if len(self._closers) == 1 else types
        following = yield from reader.peek()
        if following in _CLOSERS:
            return (yield from self._bracket())
        if not (yield from self._string(reader.argue)):
            word: list[str] = []
            yield from reader.run(_WORD, word.append)
            bare = "".join(word).strip()
            if not bare or not (yield from reader.peek()):
                raise Malformed
            reader.argue(as_json(bare, types))
        return False

    def _key(self) -> Steps[str]:
        """Read a key and what separates it from its value."""
        reader = self._reader
        held: list[str] = []
        if (yield from self._string(held.append)):
            key = str(json.loads("".join(held)))
        else:
            yield from reader.run(_KEY, held.append)
            key = "".join(held).strip()
        yield from reader.skip_space()
        yield from reader.expect(":", "=")
        yield from reader.skip_space()
        return key

    def _string(self, sink: Sink) -> Steps[bool]:
        """Pass on a string as JSON; False where none comes. Quotes may be JSON's and Python's, too."""
        reader = self._reader
        if (yield from reader.peek()) == '"':
            yield from json_value(reader, sink)
            return True
        quote = yield from reader.match(self._marks.quote, "'")
        if not quote:
            return False
        sink('"')
        if quote == "'":
            yield from _rest_of_apostrophes(reader, quoting(sink))
        elif not (yield from reader.until(quote, sink=quoting(sink))):
            raise Malformed
        sink('"')
        return True


def _rest_of_apostrophes(reader: Reader, sink: Sink) -> Steps[None]:
    while True:
        yield from reader.run(_APOSTROPHES, sink)
        if (yield from reader.take()) == "'":
            return
        character = yield from reader.take()
        sink(_PYTHON_ESCAPES.get(character, character))


def _dialect(name: str, marks: Marks, fingerprint: tuple[str, ...], ending: str) -> Dialect:
    def grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
        return gemma_rules(tools, spell, many=many, marks=(marks.call, marks.call_end, marks.quote))

    return Dialect(
        name=name,
        marks=(marks.call, marks.call_end, marks.quote),
        fingerprints=(fingerprint,),
        parser=_parser(marks),
        grammar=grammar,
        trigger=marks.call,
        ending=(ending,),
    )


DIALECT = _dialect(
    "gemma",
    Marks("<|tool_call>", "<tool_call|>", '<|"|>'),
    fingerprint=("<|tool_call>", "<tool_call|>"),
    ending="<|tool_response>",
)
FUNCTION = _dialect(
    "functiongemma",
    Marks("<start_function_call>", "<end_function_call>", "<escape>"),
    fingerprint=("<start_function_call>", "<escape>"),
    ending="<start_function_response>",
)
