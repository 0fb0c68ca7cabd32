"""Calls whose marks say where the name is and where the arguments, which are one JSON object."""

from allod.text.scan import Malformed, Reader, Steps, ignore
from allod.text.scan_json import json_value


def read_framed(reader: Reader, name: str, *ends: str) -> Steps[str]:
    """Read the arguments of a call and the mark after them, which is returned.

    Nothing opens before it is clear that there is an object. What stands between the object and the mark
    is left out; the mark may be missing where the model ends its answer.
    """
    yield from reader.skip_space()
    if not name or (yield from reader.peek()) != "{":
        raise Malformed
    reader.open(name)
    yield from json_value(reader, reader.argue)
    end = yield from reader.until(*ends, sink=ignore)
    if not end and not reader.complete:
        raise Malformed
    reader.close()
    return end


def held_until(reader: Reader, *marks: str) -> Steps[tuple[str, str]]:
    """Read up to the first of the marks; the bare text before it, and the mark."""
    held: list[str] = []
    mark = yield from reader.until(*marks, sink=held.append)
    return "".join(held).strip(), mark
