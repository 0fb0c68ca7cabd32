"""Python literals as JSON, while they are being written and without evaluating anything."""

import json
import math
import re

from allod.text.scan import Malformed, Reader, Sink, Steps
from allod.text.tools.arguments import quoting

_WORD = re.compile(r"[+\-.0-9A-Za-z_]*")
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WORDS = {
    "True": "true",
    "False": "false",
    "None": "null",
    "true": "true",
    "false": "false",
    "null": "null",
}
_QUOTES = ('"""', "'''", '"', "'")
_ENDS = {"[": "]", "(": ")"}
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "0": "\0",
    "\n": "",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "/": "/",  # JSON's, which is no escape in Python
}
_CODE_DIGITS = {"x": 2, "u": 4, "U": 8}
_MOST_NESTING = 64


def read_literal(reader: Reader, sink: Sink, nesting: int = 0) -> Steps[None]:
    """Pass on one Python literal, or JSON value, as JSON text: tuples are lists, keys are strings.

    Strings are passed on as they come.
    """
    if nesting > _MOST_NESTING:
        raise Malformed
    yield from reader.skip_space()
    first = yield from reader.peek()
    if first in ("'", '"'):
        yield from _string(reader, sink)
    elif first in _ENDS:
        yield from _list(reader, sink, nesting)
    elif first == "{":
        yield from _dict(reader, sink, nesting)
    else:
        parts: list[str] = []
        yield from reader.run(_WORD, parts.append)
        sink(_scalar("".join(parts)))


def _scalar(word: str) -> str:
    if word in _WORDS or _JSON_NUMBER.fullmatch(word):
        return _WORDS.get(word, word)
    try:
        number = int(word, 0)
    except ValueError:
        try:
            number = float(word)
        except ValueError as error:
            raise Malformed from error
    if not math.isfinite(number):
        raise Malformed
    return json.dumps(number)


def _string(reader: Reader, sink: Sink) -> Steps[None]:
    quote = yield from reader.expect(*_QUOTES)
    sink('"')
    mark = "\\"
    while mark == "\\":
        mark = yield from reader.until(quote, "\\", sink=quoting(sink))
        if mark == "\\":
            yield from _escape(reader, sink)
        elif not mark:
            raise Malformed
    sink('"')


def _escape(reader: Reader, sink: Sink) -> Steps[None]:
    character = yield from reader.take()
    digits = _CODE_DIGITS.get(character)
    if digits is None:
        quoting(sink)(_ESCAPES.get(character, "\\" + character))
        return
    code = ""
    for _ in range(digits):
        code += yield from reader.take()
    try:
        # half characters stay escapes, so that two of them are one character to whoever reads the JSON
        sink(json.dumps(chr(int(code, 16)))[1:-1])
    except (ValueError, OverflowError) as error:
        raise Malformed from error


def _list(reader: Reader, sink: Sink, nesting: int) -> Steps[None]:
    end = _ENDS[(yield from reader.take())]
    sink("[")
    yield from reader.skip_space()
    over = yield from reader.match(end)
    while not over:
        yield from read_literal(reader, sink, nesting + 1)
        over = yield from read_separator(reader, end)
        if not over:
            sink(", ")
    sink("]")


def _dict(reader: Reader, sink: Sink, nesting: int) -> Steps[None]:
    yield from reader.expect("{")
    sink("{")
    yield from reader.skip_space()
    over = yield from reader.match("}")
    while not over:
        key: list[str] = []
        yield from read_literal(reader, key.append, nesting + 1)
        text = "".join(key)
        sink(text if text.startswith('"') else json.dumps(text))
        yield from reader.skip_space()
        yield from reader.expect(":")
        sink(": ")
        yield from read_literal(reader, sink, nesting + 1)
        over = yield from read_separator(reader, "}")
        if not over:
            sink(", ")
    sink("}")


def read_separator(reader: Reader, end: str) -> Steps[bool]:
    """Read the comma before another item, or the end; True for the end, which may follow a comma."""
    yield from reader.skip_space()
    if (yield from reader.expect(",", end)) == end:
        return True
    yield from reader.skip_space()
    if not (yield from reader.peek()):
        raise Malformed
    return bool((yield from reader.match(end)))
