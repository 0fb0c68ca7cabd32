"""Images in bodies: what the three dialects have in common about them."""

import json
from typing import Literal

from allod.core.errors import refused
from allod.core.pictures import MAX_PICTURES, Detail, Gallery, Picture
from allod.wire.data_uri import FORM, SCHEME, parse
from allod.wire.refusal import SHOWN_CHARACTERS

DetailShape = Literal["auto", "low", "high", "original"]
DETAIL_WANTED = "one of auto, low, high"
ADDRESS_WANTED = f"a data URI such as {FORM} or an http(s) address"

_REMOTE = ("http://", "https://")
_LONGEST_SCHEME = max(map(len, _REMOTE))


def source_of(address: str, field: str) -> bytes | str:
    """What an address stands for: the bytes of a data URI, or the http(s) address as it is.

    Raises:
        InvalidRequest: it is neither, or its data cannot be read; names the field.
    """
    start = address[:_LONGEST_SCHEME].lower()
    if start.startswith(SCHEME):
        return parse(address, field)
    if start.startswith(_REMOTE):
        return address
    raise refused(field, f"got {json.dumps(address[:SHOWN_CHARACTERS])}; send {ADDRESS_WANTED}")


def detail_of(*asked: DetailShape | None) -> Detail:
    """How closely to look: the first that was said. `original` is what `auto` does."""
    match next(filter(None, asked), "auto"):
        case "low" | "high" as said:
            return said
        case _:
            return "auto"


def hung(gallery: Gallery, picture: Picture) -> str:
    """Take a picture in; returns the mark that stands for it in text.

    Raises:
        InvalidRequest: the conversation has as many as it can have.
    """
    try:
        return gallery.hang(picture)
    except ValueError as error:
        raise refused(
            picture.field,
            f"is one image too many: a conversation has at most {MAX_PICTURES}; leave the oldest ones out",
        ) from error
