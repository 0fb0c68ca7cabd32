"""How this room says no."""

from allod.core.errors import InvalidRequest

SEND_INSTEAD = "send a PNG, JPEG, WebP or GIF"


def refused(field: str, sentence: str) -> InvalidRequest:
    """An InvalidRequest about one field."""
    return InvalidRequest(f"{field}: {sentence}", param=field)
