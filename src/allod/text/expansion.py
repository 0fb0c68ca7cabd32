"""Prompts with pictures as tokens: what the image processor made of each picture, put where its mark is.

A processor writes special tokens, often with ordinary text around them: Gemma 3 puts two line breaks on
each side. Such text merges with its neighbours, so a prompt cannot be tokenised piece by piece. Here it is
tokenised in one go, with one or two special tokens in the place of each long run of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from allod.core.ids import TokenId
from allod.core.pictures import marks_in, pieces_of

Expansion = tuple[TokenId, ...]
"""All tokens that a model's image processor puts in the place of a picture's form, tokenised by itself."""


class PicturePlace(NamedTuple):
    """The tokens of a prompt that stand for a picture, which `spliced` was given at this index."""

    picture: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Spliced:
    """A prompt's tokens, and which of them stand for pictures, in the order of the prompt."""

    tokens: tuple[TokenId, ...]
    places: tuple[PicturePlace, ...]


class LocatingCodec(Protocol):
    """As much of a tokenizer as this needs."""

    @property
    def added_tokens(self) -> Mapping[str, TokenId]:
        """The tokens beside the vocabulary proper, by their text."""
        ...

    @property
    def special_tokens(self) -> frozenset[TokenId]:
        """The tokens that are not text."""
        ...

    def encode(self, text: str, *, special: bool) -> tuple[TokenId, ...]:
        """Text to ids."""
        ...

    def token_bytes(self, token: TokenId) -> bytes:
        """The exact bytes of one token."""
        ...

    def located(self, text: str, places: Sequence[int]) -> tuple[tuple[TokenId, ...], tuple[int | None, ...]]:
        """Text to ids, and for each index of a character which of the ids it is in."""
        ...


def spliced(prompt: str, expansions: Sequence[Expansion], codec: LocatingCodec) -> Spliced:
    """The tokens of a prompt with marks, without what the tokenizer adds by itself.

    They are those of the text that has each expansion's text in the place of its mark, tokenised in one go,
    where an expansion has special or at least added tokens; else its tokens stand between words that are
    tokenised by themselves.

    Args:
        prompt: text in which the mark of picture `i` stands for `expansions[i]`.
        expansions: what the processor made of the pictures.
        codec: the model's tokenizer.
    """
    laid = {index: _laid_out(expansions[index], codec) for index in set(marks_in(prompt))}
    tokens: list[TokenId] = []
    places: list[PicturePlace] = []
    for run in _runs(prompt, laid):
        more = _in_one_go(run, laid, codec) or _one_by_one(run, laid, codec)
        places += [place._replace(start=place.start + len(tokens)) for place in more.places]
        tokens += more.tokens
    return Spliced(tuple(tokens), tuple(places))


@dataclass(frozen=True, slots=True)
class _Laid:
    """An expansion as text, a core of ids, and text; `stand_in` is written where the core will be.

    The stand-in is the core's first and last token, since these decide how the words beside them are read:
    some special tokens take the spaces next to them.
    """

    tokens: tuple[TokenId, ...]
    before: str = ""
    core: tuple[TokenId, ...] = ()
    after: str = ""
    stand_in: str = ""


def _laid_out(tokens: tuple[TokenId, ...], codec: LocatingCodec) -> _Laid:
    special = codec.special_tokens.intersection(tokens) or set(codec.added_tokens.values())
    borders = [at for at, token in enumerate(tokens) if token in special]
    if not borders:
        return _Laid(tokens)
    start, end = borders[0], borders[-1] + 1
    core = tokens[start:end]
    return _Laid(
        tokens,
        _text(tokens[:start], (), codec),
        core,
        _text(tokens[end:], core[-1:], codec),
        _spelled(core if len(core) == 1 else (core[0], core[-1]), codec),
    )


def _text(tokens: tuple[TokenId, ...], left: tuple[TokenId, ...], codec: LocatingCodec) -> str:
    """The text that becomes these tokens behind `left`, without a first space that the tokenizer added."""
    text = _spelled(tokens, codec)
    if text.startswith(" "):
        shorter = _spelled(left, codec) + text[1:]
        if codec.encode(shorter, special=False) == (*left, *tokens):
            return text[1:]
    return text


def _spelled(tokens: Sequence[TokenId], codec: LocatingCodec) -> str:
    return b"".join(map(codec.token_bytes, tokens)).decode(errors="replace")


def _runs(prompt: str, laid: Mapping[int, _Laid]) -> Iterator[list[str | int]]:
    """The prompt in pieces that are tokenised together; a picture without special tokens stands alone."""
    run: list[str | int] = []
    for piece in pieces_of(prompt):
        if isinstance(piece, int) and not laid[piece].stand_in:
            yield run
            yield [piece]
            run = []
        else:
            run.append(piece)
    yield run


def _in_one_go(run: Sequence[str | int], laid: Mapping[int, _Laid], codec: LocatingCodec) -> Spliced | None:
    """None if a picture stands alone, or a stand-in does not become the tokens that it should."""
    text = ""
    starts: list[tuple[int, int]] = []
    for piece in run:
        if isinstance(piece, str):
            text += piece
            continue
        picture = laid[piece]
        text += picture.before
        starts.append((piece, len(text)))
        text += picture.stand_in + picture.after
    ids, at = codec.located(text, [start for _, start in starts])
    tokens: list[TokenId] = []
    places: list[PicturePlace] = []
    done = 0
    for (index, _), found in zip(starts, at, strict=True):
        core = laid[index].core
        ends = core if len(core) == 1 else (core[:1] + core[-1:])
        if not core or found is None or ids[found : found + len(ends)] != ends:
            return None
        tokens += ids[done:found]
        places.append(PicturePlace(index, len(tokens), len(core)))
        tokens += core
        done = found + len(ends)
    return Spliced((*tokens, *ids[done:]), tuple(places))


def _one_by_one(run: Sequence[str | int], laid: Mapping[int, _Laid], codec: LocatingCodec) -> Spliced:
    """Words by themselves, and whole expansions between them."""
    tokens: list[TokenId] = []
    places: list[PicturePlace] = []
    for piece in run:
        if isinstance(piece, int):
            places.append(PicturePlace(piece, len(tokens), len(laid[piece].tokens)))
            tokens += laid[piece].tokens
        else:
            tokens += codec.encode(piece, special=False)
    return Spliced(tuple(tokens), tuple(places))
