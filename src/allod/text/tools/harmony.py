"""Harmony (gpt-oss): messages, each with a header of role, recipient and channel, and a body.

    <|channel|>analysis<|message|>..<|end|><|start|>assistant<|channel|>commentary to=functions.f
    <|constrain|>json<|message|>{..}<|call|>

The prompt ends with `<|start|>assistant`, so an answer starts inside a header. Models write some headers
wrong: what a header does not say plainly is never shown, and a body without a known channel is words.
"""

import re
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Steps, ignore
from allod.text.scan_json import json_value
from allod.text.tools.rules import call_rules

_START = "<|start|>"
_CHANNEL = "<|channel|>"
_CONSTRAIN = "<|constrain|>"
_MESSAGE = "<|message|>"
_END = "<|end|>"
_CALL = "<|call|>"
_RETURN = "<|return|>"
_MARKS = (_START, _CHANNEL, _CONSTRAIN, _MESSAGE, _END, _CALL, _RETURN)
_IN_HEADER = (_START, _CHANNEL, _CONSTRAIN)

_CHANNELS = ("analysis", "commentary", "final")
_RECIPIENT = re.compile(r"to=(\S+)")
_NAMESPACE = "functions."


def _parser(tools: Sequence[Tool]) -> Parser:
    return ScriptParser(lambda reader: _Answer(reader, frozenset(tool.name for tool in tools)).read())


class _Answer:
    """Reads one answer.

    `_words` are those of the header that is being read, by the mark that they follow.
    """

    def __init__(self, reader: Reader, offered: frozenset[str]) -> None:
        self._reader = reader
        self._offered = offered
        self._words: dict[str, str] = {}
        self._thought = False

    def read(self) -> Steps[None]:
        reader = self._reader
        mark = yield from self._beginning()
        while mark:
            if mark in _IN_HEADER:
                mark = yield from self._header(mark)
            elif mark == _MESSAGE:
                mark = yield from self._body()
            else:
                mark = yield from reader.until(*_MARKS, sink=ignore)
            reader.settle()

    def _beginning(self) -> Steps[str]:
        """The rest of the header that the prompt began, or words by a model that writes no headers."""
        reader = self._reader
        yield from reader.skip_space()
        lead = yield from reader.match("to=", *_MARKS)
        if lead in _MARKS:
            return lead
        if lead:
            self._words = {_START: lead}
            return (yield from self._fields(_START))
        reader.rewind()
        return (yield from self._said())

    def _header(self, mark: str) -> Steps[str]:
        self._words = {}
        return (yield from self._fields(mark))

    def _fields(self, mark: str) -> Steps[str]:
        """Read the fields of a header, of which the last counts where one comes twice."""
        while mark in _IN_HEADER:
            parts: list[str] = []
            following = yield from self._reader.until(*_MARKS, sink=parts.append)
            self._words[mark] = self._words.get(mark, "") + "".join(parts)
            mark = following
        if mark != _MESSAGE and (mark or self._reader.complete):
            self._reader.failures += 1
            if mark in ("", _RETURN):
                self._say_header()
        return mark

    def _say_header(self) -> None:
        """What the model wrote instead of an answer, unless it is the words of a header."""
        words = self._words.get(_CHANNEL, "").strip()
        if not words.startswith(_CHANNELS) and not _RECIPIENT.search(words):
            self._reader.say(words)

    def _body(self) -> Steps[str]:
        reader = self._reader
        name = self._tool()
        if name:
            failures = reader.failures
            yield from reader.call(self._arguments(name))
            rest = ignore if reader.failures == failures else reader.say
            return (yield from reader.until(*_MARKS, sink=rest))
        if self._words.get(_CHANNEL, "").strip().startswith("analysis"):
            return (yield from self._thoughts())
        reader.part()
        return (yield from self._said())

    def _tool(self) -> str:
        """The tool that the message goes to; empty for messages to the reader."""
        found = _RECIPIENT.search(" ".join(self._words.values()))
        recipient = found.group(1) if found else ""
        name = recipient.removeprefix(_NAMESPACE)
        return name if name != recipient or name in self._offered else ""

    def _arguments(self, name: str) -> Steps[None]:
        reader = self._reader
        yield from reader.skip_space()
        following = yield from reader.peek()
        if following == "{":
            reader.open(name)
            yield from json_value(reader, reader.argue)
        elif (yield from reader.match(_CALL, _END)) or (not following and reader.complete):
            reader.open(name)
        else:
            raise Malformed
        reader.close()

    def _thoughts(self) -> Steps[str]:
        def think(text: str) -> None:
            reader.think("\n" + text if apart and not begun else text)
            begun.append(text)

        reader, apart, begun = self._reader, self._thought, list[str]()
        self._thought = True
        return (yield from self._reader.until(*_MARKS, sink=think))

    def _said(self) -> Steps[str]:
        return (yield from self._reader.until(*_MARKS, sink=self._reader.say))


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    """One call: its last mark ends the answer, so that a second one never comes."""

    def body(tool: Tool, arguments: str) -> str:
        recipient = spell(f"commentary to={_NAMESPACE}{tool.name} ")
        head = f"{spell(_CHANNEL)} {recipient} {spell(_CONSTRAIN)} {spell('json')} {spell(_MESSAGE)}"
        return f"{head} {arguments} {spell(_CALL)}"

    return call_rules(tools, body, many=False)


DIALECT = Dialect(
    name="harmony",
    marks=_MARKS,
    fingerprints=((_CHANNEL, _MESSAGE, "analysis"),),
    parser=_parser,
    grammar=_grammar,
    trigger=_CHANNEL,
    ending=(_CALL,),
    frames_answer=True,
)
