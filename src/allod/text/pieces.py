"""Which tokenizers read the words of a text by themselves, told by their file.

A tokenizer of this kind cuts a text in stages: at its added tokens, at every match of a regular expression,
between digits and what is none. What no stage cuts is a piece, and each piece is turned into tokens by
itself. Take a space between two words: a letter or digit, the space, a letter or digit. Call the place before
the space b, and let two texts be the same up to b and the space behind it. Each stage named here reads from
left to right, looks at nothing before the place where it begins, and matches nothing that lies across b,
because no match of it has a space behind what is no white space. So

- what a stage matches before b is the same in both texts: all it may look at from there is whether at b there
  is a space or, where an earlier stage has cut, the end, and it cannot tell these apart;
- what it matches behind b is what it matches in the text from b on, whether or not something was cut at b.

So, stage after stage, where pieces end before b depends on nothing behind it, and where they end behind it
depends on nothing before it. Whether one ends at b itself is not said by that (a match may begin there in one
text and not in the other): it must be seen in the tokens of both.

Normal forms change nothing of this: NFC composes no space with what stands beside it. Nor do added tokens if
none has a space behind a character of another kind, and if those that take in spaces, or look at what is
beside them, begin and end with marks. Every other kind of file is not known to be exact: where whole texts
are one piece, where a space is put before them, where pieces are merged at random.
"""

import re
import string
import unicodedata
from collections.abc import Iterator

import msgspec

from allod.text.patterns import keeps_spaces_apart
from allod.text.vocabulary import AddedToken, TokenizerFile


class _Stage(msgspec.Struct, frozen=True):
    type: str
    pretokenizers: tuple["_Stage", ...] = ()
    normalizers: tuple["_Stage", ...] = ()
    pattern: dict[str, str] = {}
    behavior: str = ""
    invert: bool = False
    add_prefix_space: bool = False


class _Model(msgspec.Struct, frozen=True):
    type: str
    dropout: float | None = None


def reads_words_alone(file: TokenizerFile) -> bool:
    """Whether the tokens of a text up to a space between words, and from it on, do not depend on one another.

    Args:
        file: the tokenizer's, as the library writes it.
    """
    try:
        model = msgspec.json.decode(file.model, type=_Model)
        normalizers = _stages(file.normalizer)
        stages = _stages(file.pre_tokenizer)
    except msgspec.ValidationError:
        return False
    return (
        model.type == "BPE"
        and not model.dropout
        and all(stage.type == "NFC" for stage in normalizers)
        and [stage.type == "ByteLevel" for stage in stages] == [*[False] * (len(stages) - 1), True]
        and all(map(_is_exact, stages))
        and all(map(_leaves_spaces, file.added_tokens))
    )


def _stages(source: msgspec.Raw) -> list[_Stage]:
    stage = msgspec.json.decode(source, type=_Stage | None)
    return [*_flat(stage)] if stage else []


def _flat(stage: _Stage) -> Iterator[_Stage]:
    if stage.type != "Sequence":
        yield stage
    for inner in (*stage.pretokenizers, *stage.normalizers):
        yield from _flat(inner)


def _is_exact(stage: _Stage) -> bool:
    if stage.type == "Split":
        kept = stage.behavior == "Isolated" or (stage.behavior == "Removed" and stage.invert)
        return kept and _is_exact_pattern(stage.pattern)
    if stage.type == "ByteLevel":
        return not stage.add_prefix_space
    return stage.type == "Digits" or (stage.type == "Punctuation" and stage.behavior == "Isolated")


def _is_exact_pattern(pattern: dict[str, str]) -> bool:
    if "Regex" in pattern:
        return keeps_spaces_apart(pattern["Regex"])
    return "String" in pattern and not _SOLID_AND_SPACE.search(pattern["String"])


def _leaves_spaces(token: AddedToken) -> bool:
    forms = (token.content, unicodedata.normalize("NFC", token.content))
    if any(map(_SOLID_AND_SPACE.search, forms)):
        return False
    looks_around = token.lstrip or token.rstrip or token.single_word
    return not looks_around or all(form[:1] in _MARKS and form[-1:] in _MARKS for form in forms if form)


_SOLID_AND_SPACE = re.compile(r"\S ")
_MARKS = frozenset(string.punctuation)
