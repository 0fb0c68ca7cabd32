"""JSON inside an answer, passed on while it is being written."""

import json
import re

from allod.text.scan import Malformed, Reader, Sink, Steps

_OUTSIDE_STRINGS = re.compile(r"[\s,:+\-.0-9A-Za-z]*")
_IN_STRING = re.compile(r'[^"\\\x00-\x1f]*')
_SCALAR = re.compile(r"[+\-.0-9A-Za-z]*")
_ESCAPES = frozenset('"\\/bfnrtu')
_CLOSERS = {"{": "}", "[": "]"}


def json_value(reader: Reader, sink: Sink) -> Steps[None]:
    """Pass on one JSON value as it comes; white space before it is skipped.

    Strings with raw control characters, and with escapes that JSON does not know, are put right.
    Only nesting is checked; the text as a whole may still not be JSON.
    """
    yield from reader.skip_space()
    first = yield from reader.peek()
    if first in _CLOSERS:
        yield from _container(reader, sink)
    elif first == '"':
        sink((yield from reader.take()))
        yield from _rest_of_string(reader, sink)
    else:
        yield from reader.run(_SCALAR, sink)


def json_string(reader: Reader) -> Steps[str]:
    """Read one JSON string whole; its value."""
    parts: list[str] = [(yield from reader.expect('"'))]
    yield from _rest_of_string(reader, parts.append)
    try:
        value = str(json.loads("".join(parts)))
        value.encode()  # an escape may stand for half a character, which no answer can carry
    except ValueError as error:
        raise Malformed from error
    return value


def _container(reader: Reader, sink: Sink) -> Steps[None]:
    open_ends: list[str] = []
    while True:
        character = yield from reader.take()
        if character in _CLOSERS:
            open_ends.append(_CLOSERS[character])
        elif character == open_ends[-1]:
            open_ends.pop()
        elif character != '"':
            raise Malformed
        sink(character)
        if character == '"':
            yield from _rest_of_string(reader, sink)
        if not open_ends:
            return
        yield from reader.run(_OUTSIDE_STRINGS, sink)


def _rest_of_string(reader: Reader, sink: Sink) -> Steps[None]:
    while True:
        yield from reader.run(_IN_STRING, sink)
        character = yield from reader.take()
        if character == "\\":
            escaped = yield from reader.take()
            sink(_escape(escaped))
        elif character == '"':
            sink(character)
            return
        else:
            sink(json.dumps(character)[1:-1])


def _escape(character: str) -> str:
    """The JSON escape that a backslash and this character are meant as."""
    if character in _ESCAPES:
        return "\\" + character
    return "'" if character == "'" else "\\\\" + json.dumps(character, ensure_ascii=False)[1:-1]
