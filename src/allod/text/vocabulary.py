"""What the tokens of a tokenizer file stand for, in bytes.

A tokenizer file says in its `decoder` how tokens become text. Two ways are in use by generating
models: the byte alphabet of GPT-2, where each character of a token stands for one byte, and
SentencePiece's, where `▁` stands for a space and `<0xNN>` for a byte.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from allod.core.errors import ImportRefused

_BYTE_NAME = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class AddedToken(msgspec.Struct, frozen=True):
    """A token that stands beside the model's own vocabulary; its text is its bytes.

    Attributes:
        id: its number.
        content: its text.
        special: it is no text.
        lstrip: it takes in the spaces before it.
        rstrip: it takes in the spaces behind it.
        single_word: it is one only where it stands by itself.
        normalized: it is looked for in the text as the tokenizer changed it.
    """

    id: int
    content: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False

    @property
    def parts_texts(self) -> bool:
        """Whether what stands before it and behind it is read as if it were another text."""
        return self.special and not (self.lstrip or self.rstrip or self.single_word or self.normalized)


class DecoderStep(msgspec.Struct, frozen=True):
    """One step of a file's decoder; fields that a type of step does not have keep their defaults."""

    type: str
    decoders: tuple["DecoderStep", ...] = ()
    pattern: dict[str, str] = {}
    content: str = ""
    start: int = 0
    replacement: str = "▁"
    prepend_scheme: str = "always"


class TokenizerFile(msgspec.Struct, frozen=True):
    """As much of a `tokenizer.json` as decoding needs, and the parts that say how it cuts texts, unread."""

    decoder: DecoderStep | None = None
    added_tokens: tuple[AddedToken, ...] = ()
    normalizer: msgspec.Raw = msgspec.Raw(b"null")
    pre_tokenizer: msgspec.Raw = msgspec.Raw(b"null")
    model: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Spelling:
    """How tokens become bytes.

    Attributes:
        to_bytes: the bytes of a token of the model's own vocabulary.
        drops_first_space: a text's first space was put there by the tokenizer and is not shown.
    """

    to_bytes: Callable[[str], bytes]
    drops_first_space: bool


def spelling_of(file: TokenizerFile) -> Spelling:
    """The way this file's tokens are spelled.

    Raises:
        ImportRefused: the decoder is of a kind that generating models do not use.
    """
    steps = tuple(_flat(file.decoder)) if file.decoder else ()
    kinds = {step.type for step in steps}
    if "ByteLevel" in kinds:
        return Spelling(_byte_level, drops_first_space=False)
    spaces = dict(filter(None, map(_replaced, steps)))
    if not spaces or not kinds <= _SENTENCEPIECE_STEPS:
        raise ImportRefused(
            f"tokenizer.json: a decoder of kind {' + '.join(sorted(kinds)) or 'none'} is not one that "
            "generating models use; export the tokenizer with a ByteLevel or a Metaspace decoder"
        )
    return Spelling(
        _sentencepiece(spaces, has_byte_names="ByteFallback" in kinds),
        drops_first_space=any(map(_drops_first_space, steps)),
    )


_SENTENCEPIECE_STEPS = {"Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"}


def _replaced(step: DecoderStep) -> tuple[str, str] | None:
    if step.type == "Metaspace":
        return step.replacement, " "
    return (step.pattern["String"], step.content) if "String" in step.pattern else None


def _drops_first_space(step: DecoderStep) -> bool:
    if step.type == "Metaspace":
        return step.prepend_scheme != "never"
    return step.type == "Strip" and step.content == " " and step.start > 0


def _flat(step: DecoderStep) -> Iterator[DecoderStep]:
    if step.type != "Sequence":
        yield step
    for inner in step.decoders:
        yield from _flat(inner)


def _alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, the 68 other bytes for U+0100 onwards."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + index): byte for index, byte in enumerate(others)
    }


_ALPHABET = _alphabet()


def _byte_level(token: str) -> bytes:
    try:
        return bytes(_ALPHABET[character] for character in token)
    except KeyError:
        return token.encode()


def _sentencepiece(spaces: dict[str, str], *, has_byte_names: bool) -> Callable[[str], bytes]:
    def to_bytes(token: str) -> bytes:
        if has_byte_names and (name := _BYTE_NAME.fullmatch(token)):
            return bytes.fromhex(name[1])
        for mark, meaning in spaces.items():
            token = token.replace(mark, meaning)
        return token.encode()

    return to_bytes
