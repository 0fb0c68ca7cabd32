"""What a prompt's positions are told apart by: tokens, and for pictures what they show."""

from collections.abc import Sequence

from allod.core.ids import TokenId
from allod.core.pictures import Digest, PictureSpan

Element = TokenId | Digest
"""What stands at a position. All positions of a picture have its digest, whatever its tokens are."""

Key = tuple[Element, ...]


def key_of(tokens: tuple[TokenId, ...], pictures: Sequence[PictureSpan]) -> Key:
    """The key of a prompt; without pictures its tokens as they are."""
    if not pictures:
        return tokens
    elements: list[Element] = list(tokens)
    for span in pictures:
        elements[span.start : span.end] = [span.digest] * span.length
    return tuple(elements)


def outside(position: int, pictures: Sequence[PictureSpan]) -> int:
    """A position, or where the picture starts that it is in the middle of: pictures are read whole."""
    return next((span.start for span in pictures if span.start < position < span.end), position)


def common(left: Sequence[object], right: Sequence[object], start: int = 0) -> int:
    """How many elements `left` and `right[start:]` begin with alike.

    Slices are compared in C, so halving beats a loop by far.
    """
    low, high = 0, min(len(left), len(right) - start)
    if left[:high] == right[start : start + high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[start + low : start + middle]:
            low = middle
        else:
            high = middle
    return low
