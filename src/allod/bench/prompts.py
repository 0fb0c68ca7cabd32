"""What is asked. Every prompt begins with a word that no server has seen, unless it is meant to be known."""

import secrets
from itertools import cycle, islice

_PROSE = (
    "the river runs past old mills and quiet fields where people once met to trade grain and news "
    "before the road came and the bridge was built of stone by hands that nobody remembers now while "
    "boats still carry wood and wool down to the sea in spring when the water is high and clear"
)


def nonce() -> str:
    """A word that was never used: it stands first, so that no cache of prefixes knows what follows."""
    return secrets.token_hex(8)


def prose(words: int) -> str:
    """So many plain words, always the same."""
    return " ".join(islice(cycle(_PROSE.split()), words))


def question(words: int, mark: str) -> str:
    """A prompt of about so many words that begins with a mark."""
    return f"{mark}: {prose(words)}. Go on with this story and do not stop."
