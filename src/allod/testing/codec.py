"""A tokenizer without a file: every byte is a token."""

from collections.abc import Sequence

from allod.core.ids import TokenId

BYTES = 256


class ByteCodec:
    """A `TokenCodec` whose ids 0 to 255 are bytes; larger ids are special tokens named `<|id|>`.

    Args:
        bos: the special token that `encode(..., special=True)` puts in front, if any.
    """

    def __init__(self, *, bos: TokenId | None = None) -> None:
        self._bos = bos

    def encode(self, text: str, *, special: bool) -> tuple[TokenId, ...]:
        """The UTF-8 bytes of the text."""
        front = (self._bos,) if special and self._bos is not None else ()
        return (*front, *text.encode())

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """The text of these bytes, special tokens left out; what is not UTF-8 becomes U+FFFD."""
        return bytes(token for token in tokens if token < BYTES).decode(errors="replace")

    def token_bytes(self, token: TokenId) -> bytes:
        """One byte, or the name of a special token."""
        return bytes((token,)) if token < BYTES else f"<|{token}|>".encode()

    def text_bytes(self, token: TokenId) -> bytes:
        """One byte; nothing for a special token."""
        return bytes((token,)) if token < BYTES else b""
