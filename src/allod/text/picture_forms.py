"""What a prompt holds for a picture, and the marks of pictures put in its place.

A template writes the same words for every picture, so the k-th of them in a prompt is the k-th picture.
The same words written by a user (`<image>` is a tag of SVG) are no picture: a character that nobody uses
is put into them before rendering and taken out of the prompt afterwards.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

from allod.core.pictures import mark_of

_PRIVATE = range(0xE000, 0xF900)
_BRACKETS = {"<": ">", "[": "]", "(": ")"}


def with_marks(
    render: Callable[[Mapping[str, object]], str],
    given: Mapping[str, object],
    form: str,
    pictures: Sequence[int],
) -> str:
    """The rendered text, the pictures' marks in the places of the form.

    Where there are not as many places as pictures nobody can say which is which: no mark is put.

    Args:
        render: renders template variables.
        given: the variables that hold what clients wrote.
        form: what the template writes for a picture.
        pictures: the pictures, in the order in which the template is given them.
    """
    guard = _unused(given)
    guarded = form[:1] + guard + form[1:]
    text = render(cast("Mapping[str, object]", _mapped(given, lambda text: text.replace(form, guarded))))
    first, *others = text.split(form)
    if len(others) == len(pictures):
        text = first + "".join(
            mark_of(picture) + after for picture, after in zip(pictures, others, strict=True)
        )
    return text.replace(guard, "")


def form_in(renderings: Sequence[Sequence[str]]) -> str:
    """What is written for a picture in these renderings; empty if nothing is.

    Each sequence has one text with no picture, one with one more, and so on. What grows from one text to
    the next may be a turned form, where its neighbours look like its end, and may have spaces, a number or
    a name around it. The form proper is the longest piece of it between brackets that is in every text as
    often as there are pictures.

    Args:
        renderings: for each way to place pictures among words, the texts with 0, 1, 2... pictures.
    """
    before, after = renderings[0][-2:]
    shared = next(
        (index for index, (old, new) in enumerate(zip(before, after, strict=False)) if old != new),
        len(before),
    )
    growth = after[shared : shared + max(0, len(after) - len(before))]
    fitting = (piece for piece in _bracketed(growth) if _counts(piece, renderings))
    return max(fitting, key=len, default="")


def _bracketed(growth: str) -> Iterator[str]:
    """Pieces of a text, which may go on at its start, from an opening bracket to a closing one."""
    ring = growth + growth
    for start, opening in enumerate(growth):
        if opening not in _BRACKETS:
            continue
        for end in range(start + 3, start + len(growth) + 1):
            if ring[end - 1] == _BRACKETS[opening]:
                yield ring[start:end]


def _counts(piece: str, renderings: Sequence[Sequence[str]]) -> bool:
    return all(text.count(piece) == pictures for texts in renderings for pictures, text in enumerate(texts))


def _unused(given: object) -> str:
    """A private-use character that is in none of these texts."""
    used: set[str] = set()

    def note(text: str) -> str:
        used.update(text)
        return text

    _mapped(given, note)
    return next((mark for mark in map(chr, _PRIVATE) if mark not in used), "")


def _mapped(value: object, change: Callable[[str], str]) -> object:
    """The value with every text in it changed, names of keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {_mapped(key, change): _mapped(inner, change) for key, inner in pairs}
    if isinstance(value, list | tuple):
        return [_mapped(inner, change) for inner in cast("Sequence[object]", value)]
    return value
