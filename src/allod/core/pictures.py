"""Pictures in conversations: what the client sent, where it stands, and what becomes of it.

In a message's content a picture is a mark: U+FFFC, the Unicode character for an embedded object, and a
private-use character that says which of the conversation's pictures it is. So whatever is done to text
(joining turns, moving a note) carries pictures along, and none can be lost without being missed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NewType

import msgspec

from allod.core.ids import TokenId

Detail = Literal["auto", "low", "high"]
Digest = NewType("Digest", bytes)
"""SHA-256 over a picture's file and all that decides how it is looked at; 32 bytes."""

MAX_PICTURES = 1024
"""Most pictures that a conversation can name; settings allow fewer."""

_OBJECT = "\ufffc"
_FIRST_NUMBER = 0xF0000
_MARK = re.compile(f"{_OBJECT}([{chr(_FIRST_NUMBER)}-{chr(_FIRST_NUMBER + MAX_PICTURES - 1)}])")


class PictureRefused(Exception):
    """A picture cannot be looked at. The sentence says what is wrong, and the way out.

    It does not name the picture's field, which only the caller knows.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the client sent it.

    Attributes:
        source: the bytes of the file, or the http(s) address of it.
        field: where it stands in the body, such as `messages[0].content[1].image_url.url`; errors name it.
        detail: `low` looks at a small copy, `high` and `auto` at as much as the settings allow.
    """

    source: bytes | str
    field: str
    detail: Detail = "auto"


@dataclass(slots=True)
class Gallery:
    """Collects the pictures of a conversation while it is decoded."""

    pictures: list[Picture] = field(default_factory=list[Picture])

    def hang(self, picture: Picture) -> str:
        """Take a picture in; returns the mark that stands for it in text.

        Raises:
            ValueError: there are MAX_PICTURES already.
        """
        if len(self.pictures) >= MAX_PICTURES:
            raise ValueError(f"more than {MAX_PICTURES} pictures")
        self.pictures.append(picture)
        return mark_of(len(self.pictures) - 1)


class Tensor(msgspec.Struct, frozen=True, array_like=True):
    """An array on its way between processes.

    Attributes:
        name: what the model's code calls it, such as `pixel_values`.
        dtype: a numpy name, such as `float32`.
        shape: lengths of the axes.
        data: the numbers, little-endian, in C order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class PreparedPicture:
    """A picture as a model reads it.

    Attributes:
        tokens: what the picture's form in the prompt becomes.
        tensors: what the vision tower reads.
    """

    tokens: tuple[TokenId, ...]
    tensors: tuple[Tensor, ...]

    @property
    def tensor_bytes(self) -> int:
        """Size of the tensors together."""
        return sum(len(tensor.data) for tensor in self.tensors)


class PictureSpan(msgspec.Struct, frozen=True, array_like=True):
    """The tokens of a prompt that stand for a picture, with the marks that the model puts around it.

    Attributes:
        start: index of the first token.
        length: how many tokens.
        digest: which picture.
        tensor_bytes: size of what the vision tower will read.
    """

    start: int
    length: int
    digest: Digest
    tensor_bytes: int

    @property
    def end(self) -> int:
        """Index after the last token."""
        return self.start + self.length


def mark_of(index: int) -> str:
    """The mark of the conversation's picture with this index."""
    return _OBJECT + chr(_FIRST_NUMBER + index)


def marks_in(text: str) -> tuple[int, ...]:
    """Which pictures a text holds, in their order."""
    return tuple(ord(found[1]) - _FIRST_NUMBER for found in _MARK.finditer(text))


def pieces_of(text: str) -> Iterator[str | int]:
    """A text cut at its marks: strings, none of them empty, and the indices of pictures."""
    position = 0
    for found in _MARK.finditer(text):
        if position < found.start():
            yield text[position : found.start()]
        yield ord(found[1]) - _FIRST_NUMBER
        position = found.end()
    if position < len(text):
        yield text[position:]


def joined_pieces(pieces: Sequence[str]) -> str:
    """Parts of a message as one text: words are joined by a newline, a picture by nothing."""
    if not pieces:
        return ""
    seams = ("" if _is_mark(left) or _is_mark(right) else "\n" for left, right in pairwise(pieces))
    return pieces[0] + "".join(seam + piece for seam, piece in zip(seams, pieces[1:], strict=True))


def _is_mark(piece: str) -> bool:
    return _MARK.fullmatch(piece) is not None


class Sight(msgspec.Struct, frozen=True):
    """What pictures cost a model that sees.

    Looking at a picture whose tensors have T bytes takes, beside these and the features, at most
    `transient_per_byte * T + min(transient_per_byte_squared * T * T, most_scores_bytes)` bytes for the time.

    Attributes:
        weights_bytes: what of the model's weights is there for pictures alone.
        feature_bytes_per_token: features of one token of a picture's span.
        transient_per_byte: see above.
        transient_per_byte_squared: see above; attention scores, where the device does not fuse them.
        cache_bytes: most bytes of tensors and features to be held at a time.
        whole_spans: True where the tokens of a picture see each other both ways, so that they must be read
            in one chunk.
        most_scores_bytes: attention is computed in strips, whose scores take no more.
    """

    weights_bytes: int
    feature_bytes_per_token: int
    transient_per_byte: float
    transient_per_byte_squared: float
    cache_bytes: int
    whole_spans: bool = False
    most_scores_bytes: int = 2**62

    def feature_bytes(self, span: PictureSpan) -> int:
        """What is kept of a picture that was looked at."""
        return span.length * self.feature_bytes_per_token

    def shelf_bytes(self, span: PictureSpan) -> int:
        """Most bytes that are held of a picture at a time: its tensors until its features are there."""
        return span.tensor_bytes + self.feature_bytes(span)

    def transient_bytes(self, tensor_bytes: int) -> int:
        """Most bytes that looking at a picture takes for the time being."""
        scores_bytes = min(self.transient_per_byte_squared * tensor_bytes**2, self.most_scores_bytes)
        return int(self.transient_per_byte * tensor_bytes + scores_bytes)
