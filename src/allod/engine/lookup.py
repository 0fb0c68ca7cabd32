"""What a text would say next if it repeated itself: n-gram lookup in the prompt and the answer so far.

Saxena 2023, "Prompt lookup decoding". Answers that quote, edit or rewrite what stands in the prompt repeat
long parts of it word for word.
"""

from array import array
from collections.abc import Sequence

from allod.core.ids import TokenId

_GRAM = 3
"""Tokens that must agree before what followed them is believed."""

_UINT32 = "I"
_TOKEN_BYTES = array(_UINT32).itemsize


class Lookup:
    """A text that grows, and where else in it the same was said before.

    It is kept as bytes and searched, which takes some ten microseconds for thousands of tokens. An index
    would take a hundred bytes for each token, and some time for each of a prompt before anything is said.

    Args:
        tokens: what is there already.
    """

    def __init__(self, tokens: Sequence[TokenId] = ()) -> None:
        self._text = bytearray(_bytes_of(tokens))
        self._at = self._latest_place()
        self._run = 0

    def __len__(self) -> int:
        """How many tokens it has."""
        return len(self._text) // _TOKEN_BYTES

    @property
    def run(self) -> int:
        """How many tokens in a row were added as they were expected."""
        return self._run

    def add(self, token: TokenId) -> None:
        """Take in the next token: go on with what was expected, or look for another place."""
        is_expected = self.expected(1) == (token,)
        self._text += _bytes_of((token,))
        if self._at is not None and is_expected:
            self._at += 1
            self._run += 1
        else:
            self._at = self._latest_place()
            self._run = 0

    def expected(self, most: int) -> tuple[TokenId, ...]:
        """What would follow, at most so many; empty where nothing like it was said before."""
        if self._at is None:
            return ()
        start = self._at * _TOKEN_BYTES
        return tuple(array(_UINT32, bytes(self._text[start : start + most * _TOKEN_BYTES])))

    def _latest_place(self) -> int | None:
        """What stands behind the same tokens as the last ones, where they were said before.

        The latest such place is the most alike: a loop in an answer, or the draft before this one.
        """
        if len(self) <= _GRAM:
            return None
        gram, end = self._text[-_GRAM * _TOKEN_BYTES :], len(self._text) - _TOKEN_BYTES
        while (found := self._text.rfind(gram, 0, end)) >= 0:
            if found % _TOKEN_BYTES == 0:
                return found // _TOKEN_BYTES + _GRAM
            # Bytes of two tokens can look like one: what is sought ends before.
            end = found + len(gram) - 1
        return None


def _bytes_of(tokens: Sequence[TokenId]) -> bytes:
    return array(_UINT32, tokens).tobytes()
