"""What refusals of all dialects have in common."""

SHOWN_CHARACTERS = 40
"""How much of a value that came from outside a sentence repeats."""


def shown_name(name: str) -> str:
    """A name that came from outside, in printable ASCII and of bounded length, fit for a header."""
    return ascii(name)[1:-1][:SHOWN_CHARACTERS].replace(",", "\\x2c")
