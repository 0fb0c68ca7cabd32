"""Calls written as a JSON object of a name and arguments: `{"name": "f", "arguments": {...}}`."""

import json
from collections.abc import Collection

from allod.text.scan import Malformed, Reader, Sink, Steps, ignore
from allod.text.scan_json import json_string, json_value

_ARGUMENT_KEYS = frozenset(("arguments", "parameters"))


def read_call(reader: Reader, *, offered: Collection[str] | None = None) -> Steps[None]:
    """Read one object as a call; the order of its members is free, and members not known are skipped.

    The call opens as soon as its name is there; arguments before the name are held. Arguments may be
    an object, a JSON string of one, null, or missing. A missing last brace is overlooked where a mark
    or the model's end of the answer follows.

    Args:
        reader: stands before the object.
        offered: for calls without marks: names that make the object a call, which it then is only with
            arguments that are an object.
    """
    yield from _Envelope(reader, offered).read()


class _Envelope:
    """The state of one object: which of its members have come."""

    def __init__(self, reader: Reader, offered: Collection[str] | None) -> None:
        self._reader = reader
        self._offered = offered
        self._name = ""
        self._has_arguments = False
        self._early: list[str] = []

    def read(self) -> Steps[None]:
        reader = self._reader
        yield from reader.expect("{")
        while (yield from self._another()):
            key = yield from json_string(reader)
            yield from reader.skip_space()
            yield from reader.expect(":")
            yield from reader.skip_space()
            yield from self._member(key)
            yield from reader.skip_space()
            yield from reader.match(",")
        if not reader.opened:
            raise Malformed
        reader.close()

    def _another(self) -> Steps[bool]:
        """Whether another member follows; if not, the object's end is read."""
        reader = self._reader
        yield from reader.skip_space()
        following = yield from reader.peek()
        if following == '"':
            return True
        over = following == "<" or (not following and reader.complete)
        if not (self._has_arguments and over):
            yield from reader.expect("}")
        return False

    def _member(self, key: str) -> Steps[None]:
        reader = self._reader
        if key == "name" and not self._name:
            self._name = yield from json_string(reader)
            self._check_name()
            if self._has_arguments or self._offered is None:
                self._open()
        elif key in _ARGUMENT_KEYS and not self._has_arguments:
            yield from self._arguments()
        else:
            yield from json_value(reader, ignore)

    def _check_name(self) -> None:
        if not self._name or (self._offered is not None and self._name not in self._offered):
            raise Malformed

    def _open(self) -> None:
        self._reader.open(self._name)
        self._reader.argue("".join(self._early))

    def _arguments(self) -> Steps[None]:
        reader = self._reader
        first = yield from reader.peek()
        if self._offered is not None and first != "{":
            raise Malformed
        self._has_arguments = True
        if self._name and not reader.opened:
            self._open()
        yield from _read_arguments(reader, reader.argue if self._name else self._early.append)


def _read_arguments(reader: Reader, sink: Sink) -> Steps[None]:
    """Pass on the arguments; nothing for null."""
    first = yield from reader.peek()
    if first == "{":
        yield from json_value(reader, sink)
    elif first == '"':
        text = (yield from json_string(reader)).strip()
        if text and not _is_object(text):
            raise Malformed
        sink(text)
    else:
        yield from reader.expect("null")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
