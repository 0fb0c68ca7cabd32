"""Files that stand in a body as text: data URIs (RFC 2397), and base64 by itself.

Clients write base64 in many ways: in lines, without padding, in the alphabet for addresses, with escapes.
What can only be meant in one way is read; anything else is refused, in a sentence that stays short however
long the text is. The text may have many megabytes, so the way of nearly all clients is a few calls on slices.
"""

import binascii
import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from allod.core.errors import refused
from allod.wire.refusal import shown_name

SCHEME = "data:"
FORM = "data:image/png;base64,..."
"""What refusals show of a data URI."""

MAX_ESCAPED = 1 << 20
"""Most characters of data that are not base64: undoing escapes is slow, and nobody sends files so."""

_ESCAPES: Mapping[str, str] = {
    "%2B": "+", "%2b": "+", "%2F": "/", "%2f": "/", "%3D": "=", "%3d": "=", "%0A": "", "%0a": "",
    "%0D": "", "%0d": "", "%20": "",
}  # fmt: skip
"""What base64 has that addresses must escape."""

_SLICE = 1 << 20
"""Characters, a multiple of four."""

_SPACE = b" \t\r\n\f\v"
_ORDINARY = bytes.maketrans(b"-_", b"+/")
_FOREIGN = re.compile(r"[^A-Za-z0-9+/_= \t\r\n\f\v-]")


def parse(uri: str, field: str) -> bytes:
    """The file that a data URI holds.

    Args:
        uri: it begins with `data:`, in capitals or not.
        field: where it stands in the body.

    Raises:
        InvalidRequest: it is not a data URI, or its data cannot be read; names the field.
    """
    head, comma, data = uri.partition(",")
    if not comma or head[: len(SCHEME)].lower() != SCHEME:
        raise refused(field, f"is not a data URI; send one of the form {FORM}")
    if head.rpartition(";")[2].strip().lower() == "base64":
        return base64_bytes(_without_escapes(data), field)
    if len(data) > MAX_ESCAPED:
        raise refused(
            field,
            f"is a data URI without ;base64 and longer than {MAX_ESCAPED} characters; send {FORM}",
        )
    if not data.isascii():
        raise refused(
            field, f"is a data URI with characters beyond ASCII; send %XX for their bytes, or {FORM}"
        )
    return _filled(unquote_to_bytes(data), field)


def base64_bytes(text: str, field: str) -> bytes:
    """The file that base64 stands for.

    Args:
        text: base64, of either alphabet, with or without padding, perhaps in lines.
        field: where it stands in the body.

    Raises:
        InvalidRequest: it is something else, or empty; names the field.
    """
    try:
        data = _usual(text)
    except ValueError:  # not the usual form, or a character beyond ASCII
        data = _from_unusual(text, field)
    return _filled(data, field)


def _usual(text: str) -> bytes:
    """Strict base64, in slices: one call holds up all threads of a process until it returns."""
    if len(text) <= _SLICE:
        return binascii.a2b_base64(text, strict_mode=True)
    last = (len(text) - 1) // _SLICE * _SLICE
    if text.find("=", 0, last) >= 0:
        raise ValueError("padding before the end")
    slices = (text[start : start + _SLICE] for start in range(0, len(text), _SLICE))
    return b"".join([binascii.a2b_base64(piece, strict_mode=True) for piece in slices])


def _from_unusual(text: str, field: str) -> bytes:
    try:
        data = text.encode("ascii").translate(_ORDINARY, _SPACE)
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except ValueError as error:
        found = _FOREIGN.search(text)
        problem = (
            f"character {found.start()} is {shown_name(found[0])}; send the file's bytes as base64"
            if found
            else "it ends within a byte, or goes on after its padding; send all of the file"
        )
        raise refused(field, f"is not base64: {problem}") from error


def _without_escapes(data: str) -> str:
    if "%" in data:
        for escape, meant in _ESCAPES.items():
            data = data.replace(escape, meant)
    return data


def _filled(data: bytes, field: str) -> bytes:
    if not data:
        raise refused(field, "holds no data; send the file's bytes")
    return data
