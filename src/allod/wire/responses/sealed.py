"""Text that a client carries for us and gives back: the `encrypted_content` of an item.

The API calls it encrypted; here it is the text itself in a form that shows that it is ours. It holds
nothing that the client may not know.
"""

import base64
import binascii
from typing import Literal

import msgspec

_VERSION = "allod1."


class _Sealed(msgspec.Struct, frozen=True):
    kind: Literal["compaction", "reasoning"]
    text: str


def seal(kind: Literal["compaction", "reasoning"], text: str) -> str:
    """The text as an opaque string of printable ASCII."""
    return _VERSION + base64.urlsafe_b64encode(msgspec.json.encode(_Sealed(kind, text))).decode()


def unseal(kind: Literal["compaction", "reasoning"], content: str) -> str | None:
    """The text that was sealed; None when another server, or another kind of item, made this."""
    if not content.startswith(_VERSION):
        return None
    try:
        data = base64.urlsafe_b64decode(content.removeprefix(_VERSION).encode())
        sealed = msgspec.json.decode(data, type=_Sealed)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
    return sealed.text if sealed.kind == kind and "\0" not in sealed.text else None
