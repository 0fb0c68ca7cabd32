r"""What a regular expression of a tokenizer file cannot match: a space behind what is no white space.

Tokenizers read a text from left to right: a match begins where the one before it ended, or later. So if no
match takes in both characters of a place, what is matched before that place and what is matched behind it do
not depend on one another, but for what the expression looks at without matching it. Of that only `(?!\S)` is
known here, which holds before a space as at the end of a text. Looks back, anchors, references and all else
that is not needed to read the expressions in use are not known, and of an expression that has them nothing is
said.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple


class _Unknown(Exception):
    """The expression may match such a pair of characters, or has something in it that is not understood."""


class _Span(NamedTuple):
    """What part of an expression may match, told too widely where it is not told exactly.

    Attributes:
        empty: nothing at all.
        space_first: something that begins with a space, U+0020.
        solid_last: something that ends with a character that is no white space.
    """

    empty: bool
    space_first: bool
    solid_last: bool


_NOTHING = _Span(empty=True, space_first=False, solid_last=False)
_TOKEN = re.compile(
    r"""
    (?P<ahead> \(\?!\\S\) )
    | (?P<open> \( (?: \?i?: | (?!\?) ) )
    | (?P<close> \) )
    | (?P<either> \| )
    | (?P<set> \[ (?!\^?\]) \^? (?: \\. | [^\[\]\\] )+ \] )
    | (?P<one> \\p\{\w+\} | \\. | [^\\^$.\[\](){}*+?|] )
    | (?P<many> [*+]\+? | \{ (?: \d+ (?:,\d*)? | ,\d+ ) \} )
    | (?P<maybe> \?\+? )
    """,
    re.VERBOSE | re.DOTALL,
)
_MEMBER = re.compile(r"(?P<low>\\p\{\w+\}|\\.|.)(?P<range>-(?=.))?", re.DOTALL)
_SOLID_ESCAPE = re.compile(r"\\(?:[Sdw]|p\{(?:[LMNPS][a-z]?|Han)\})")
_BLANK_ESCAPES = frozenset((r"\r", r"\n", r"\t"))


def keeps_spaces_apart(expression: str) -> bool:
    """Whether no match has a space directly behind a character that is no white space.

    Args:
        expression: as a tokenizer file has it, in the syntax of Oniguruma.
    """
    try:
        tokens = _tokens(expression)
        _alternatives(tokens)
        return next(tokens, None) is None
    except (_Unknown, RecursionError):
        return False


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if found is None or found.lastgroup is None:
            raise _Unknown(expression[at:])
        yield found.lastgroup, found[0]
        at = found.end()


def _alternatives(tokens: Iterator[tuple[str, str]]) -> _Span:
    """An expression up to its end, or to the end of the group that it is."""
    choices: list[_Span] = []
    before, last = _NOTHING, None
    for kind, text in tokens:
        if kind in {"many", "maybe"}:
            last = _repeated(last, text)
            continue
        before, last = _followed(before, last or _NOTHING), None
        if kind == "close":
            break
        if kind == "either":
            choices.append(before)
            before = _NOTHING
        else:
            last = _part(kind, text, tokens)
    return _any([*choices, _followed(before, last or _NOTHING)])


def _part(kind: str, text: str, tokens: Iterator[tuple[str, str]]) -> _Span:
    if kind == "open":
        return _alternatives(tokens)
    if kind == "ahead":
        return _NOTHING
    return _set(text) if kind == "set" else _one(text)


def _followed(first: _Span, second: _Span) -> _Span:
    if first.solid_last and second.space_first:
        raise _Unknown
    return _Span(
        empty=first.empty and second.empty,
        space_first=first.space_first or (first.empty and second.space_first),
        solid_last=second.solid_last or (second.empty and first.solid_last),
    )


def _repeated(part: _Span | None, mark: str) -> _Span:
    """What a quantifier makes of a part; a `?` behind one says how it tries, and is taken for one more."""
    if part is None:
        raise _Unknown
    if not mark.startswith("?"):
        _followed(part, part)
    return part._replace(empty=part.empty or mark.startswith(("?", "*", "{0", "{,")))


def _any(choices: list[_Span]) -> _Span:
    return _Span(*map(any, zip(*choices, strict=True)))


def _one(text: str) -> _Span:
    """One character, as it is or as a class of characters."""
    if text.startswith("\\") and (text[1].isalnum() or not text.isascii()):
        if text == r"\s":
            return _Span(empty=False, space_first=True, solid_last=False)
        solid = _SOLID_ESCAPE.fullmatch(text) is not None
        if not solid and text not in _BLANK_ESCAPES:
            raise _Unknown(text)
        return _Span(empty=False, space_first=False, solid_last=solid)
    character = text.removeprefix("\\")
    return _Span(empty=False, space_first=character == " ", solid_last=not character.isspace())


def _set(text: str) -> _Span:
    """A character of a set, with `^` of none in it; sets within sets are not read."""
    inside = text[1:-1]
    members = [*_MEMBER.finditer(inside.removeprefix("^"))]
    spans = [_one(member["low"]) for member in members]
    has_space = any(span.space_first for span in spans)
    if "&&" in inside:
        raise _Unknown(text)
    if inside.startswith("^"):
        return _Span(empty=False, space_first=not has_space, solid_last=True)
    lows = [member["low"] for member in members if member["range"]]
    reaches_space = any(low <= " " or low.startswith("\\") for low in lows)
    has_solid = any(span.solid_last for span in spans) or bool(lows)
    return _Span(empty=False, space_first=has_space or reaches_space, solid_last=has_solid)
