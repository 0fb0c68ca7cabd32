"""Pictures at the terminal: which words are paths of them, and what is sent for them."""

import base64
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from allod.cli.client import Content, Part, PicturePart, Source, TextPart
from allod.cli.terminal import bytes_words
from allod.core.errors import ConfigurationError, InvalidRequest
from allod.media.settings import MediaSettings
from allod.media.sniff import HEAD_BYTES, READABLE, kind_of, require_file

_ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".heic", ".heif", ".bmp", ".tif", ".tiff"}
)
"""By which a word is taken for the path of a picture, whether there is such a file or not."""

_QUOTE_IT = "to send it as words, quote it within a longer sentence or put it after `--`"
_SAY_MORE = "to send it as words, write them into a longer sentence"


@dataclass(frozen=True, slots=True)
class Attached:
    """A picture that goes along with words.

    Attributes:
        name: of the file.
        file: its bytes.
    """

    name: str
    file: bytes

    @property
    def part(self) -> Part:
        """As the chat API takes it; what kind it is, its bytes say."""
        encoded = base64.b64encode(self.file).decode()
        return PicturePart(Source(f"data:image/{kind_of(self.file)};base64,{encoded}"))

    def words(self) -> str:
        """One line that says it is there."""
        return f"[{self.name}, {bytes_words(len(self.file))}, attached; ask about it]"


Piece = str | Attached
"""Words, or a picture among them."""


def read(path: str, media: MediaSettings) -> Attached:
    """A picture that somebody asked for by its path.

    Raises:
        ConfigurationError: it is not there, not a picture, or too long.
    """
    try:
        found = _place(path)
        with found.open("rb") as file:
            data = file.read(media.max_picture_bytes + 1)
        size_bytes = max(len(data), found.stat().st_size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"{path}: the picture cannot be read: {reason}") from error
    if len(data) > media.max_picture_bytes:
        raise ConfigurationError(
            f"{path}: is {bytes_words(size_bytes)} long, and at most {bytes_words(media.max_picture_bytes)} "
            "are sent (media.max_picture_bytes); make the picture smaller or compress it more strongly"
        )
    try:
        require_file(data, path, media)
    except InvalidRequest as error:
        raise ConfigurationError(error.message) from error
    return Attached(found.name, data)


def find(words: Iterable[str], media: MediaSettings) -> list[Piece]:
    """Words, of which those that are paths of pictures are the pictures.

    Raises:
        ConfigurationError: a word looks like such a path, and there is none, or it is something else.
    """
    return [_found(word, media, _QUOTE_IT) for word in words]


def alone(line: str, media: MediaSettings) -> list[Attached]:
    """The pictures of a line that is their paths and nothing else; of any other line none.

    Raises:
        ConfigurationError: the line is one such path, and there is no such picture.
    """
    if _is_picture(line):
        return [read(line, media)]
    words = _unquoted(line)
    if all(map(_is_picture, words)):
        return [read(path, media) for path in words]
    if len(words) == 1:
        _found(words[0], media, _SAY_MORE)  # a mistyped path is no question
    return []


def named(rest: str, media: MediaSettings) -> list[Attached]:
    """The pictures whose paths follow a command: as they are, in quotes, or with backslashes.

    Raises:
        ConfigurationError: one of them cannot be had.
    """
    return [read(path, media) for path in ([rest] if _kind(rest) else _unquoted(rest) or [rest])]


def content_of(pieces: Sequence[Piece]) -> Content:
    """What is asked with these words and pictures, each in its place."""
    if all(isinstance(piece, str) for piece in pieces):
        return " ".join(piece for piece in pieces if isinstance(piece, str))
    parts: list[Part] = []
    for _, run in groupby(pieces, lambda piece: isinstance(piece, str)):
        same = list(run)
        pictures = [piece.part for piece in same if isinstance(piece, Attached)]
        words = " ".join(piece for piece in same if isinstance(piece, str))
        parts += pictures or [TextPart(words)]
    return tuple(parts)


def _found(word: str, media: MediaSettings, way_out: str) -> Piece:
    if _is_picture(word):
        return read(word, media)
    if not _looks_like_a_path(word):
        return word
    try:
        return read(word, media)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error.message}; {way_out}") from error


def _looks_like_a_path(word: str) -> bool:
    return word.lower().endswith(tuple(_ENDINGS)) and not any(map(str.isspace, word))


def _is_picture(word: str) -> bool:
    return _kind(word) in READABLE


def _kind(word: str) -> str | None:
    """Of the file with this path; None where there is none, or it begins like nothing known."""
    try:
        path = _place(word)
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return kind_of(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return None  # a sentence is often too long for a path, or has characters that none may have


def _place(word: str) -> Path:
    try:
        return Path(word).expanduser()
    except RuntimeError:  # `~` and the name of nobody here
        return Path(word)


def _unquoted(line: str) -> list[str]:
    """The words of a line as a shell reads them; none where its quotes are not closed."""
    try:
        return shlex.split(line)
    except ValueError:
        return []
