"""Where in a prompt messages begin, told by its special tokens: no template needs to be known for it."""

from collections import Counter
from collections.abc import Set
from itertools import chain

from allod.core.ids import TokenId


def message_starts(tokens: tuple[TokenId, ...], special: Set[TokenId]) -> tuple[int, ...]:
    """Places where another prompt may part from this one: behind its head, and before its last two messages.

    What opens a message is the special token that comes most often, the earlier one of two that come alike:
    whatever closes messages, or roles, does not come more often, and comes later.
    """
    places = [place for place, token in enumerate(tokens) if token in special]
    if not places:
        return ()
    counts = Counter(tokens[place] for place in places)
    opening = max(counts, key=lambda token: counts[token])
    starts = [place for place in places if tokens[place] == opening]
    return tuple(sorted({*chain(starts[1:2], starts[-2:])} - {0}))
