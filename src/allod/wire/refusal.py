"""What refusals of all dialects have in common."""

from allod.core.errors import InvalidRequest

SHOWN_CHARACTERS = 40
"""How much of a value that came from outside a sentence repeats."""


def refused(field: str, sentence: str) -> InvalidRequest:
    """An InvalidRequest about one field."""
    return InvalidRequest(f"{field}: {sentence}", param=field)


def shown_name(name: str) -> str:
    """A name that came from outside, in printable ASCII and of bounded length, fit for a header."""
    return ascii(name)[1:-1][:SHOWN_CHARACTERS].replace(",", "\\x2c")
