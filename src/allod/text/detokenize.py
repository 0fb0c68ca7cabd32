"""Token ids to text while they arrive."""

from codecs import getincrementaldecoder
from collections.abc import Sequence

from allod.core.ids import TokenId
from allod.core.ports import TokenCodec

_Utf8Decoder = getincrementaldecoder("utf-8")


class Detokenizer:
    """Shows each character as soon as its last byte is there, and never half of one.

    All that `feed` and `flush` return, joined, is what the codec's `decode` makes of all the tokens,
    however they were cut into calls. At most three bytes are held back: a fourth either completes a
    character or proves that there is none, which shows as U+FFFD. The work per token does not
    depend on the length of the answer.

    Args:
        codec: its `decode` must be the UTF-8 text of its `text_bytes`, perhaps without a first space.
        shown: special tokens that are shown all the same, by their names: markup that a parser reads.
        continues: True when the tokens continue a text, so that a first space is part of it.
    """

    def __init__(
        self, codec: TokenCodec, *, shown: frozenset[TokenId] = frozenset(), continues: bool = False
    ) -> None:
        self._codec = codec
        self._shown_specials = shown
        self._utf8 = _Utf8Decoder("replace")
        self._inside = False
        self._at_start = not continues

    def feed(self, tokens: Sequence[TokenId]) -> str:
        """The text that these tokens complete."""
        data = b"".join(map(self._shown, tokens))
        if not self._inside:
            try:
                return data.decode()
            except UnicodeDecodeError:
                pass  # it ends inside a character, or holds what is none
        text = self._utf8.decode(data)
        held, _ = self._utf8.getstate()
        self._inside = bool(held)
        return text

    def flush(self) -> str:
        """U+FFFD when the tokens end inside a character, else nothing."""
        return self._utf8.decode(b"", final=True)

    def _shown(self, token: TokenId) -> bytes:
        """The bytes that a token adds to this text."""
        codec = self._codec
        if token in self._shown_specials:
            self._at_start = False
            return codec.token_bytes(token)
        data = codec.text_bytes(token)
        if self._at_start and data:
            self._at_start = False
            if data.startswith(b" ") and codec.decode((token,)) == data[1:].decode(errors="replace"):
                return data[1:]
        return data
