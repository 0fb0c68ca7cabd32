"""Prompts turned into tokens from where they differ from ones before: conversations grow at their end.

Tokenizers cut a text at its special tokens first and read what is between them by itself. So the tokens
before a special token stay the same, whatever comes after it, and that does not depend on what was before.

Many read each word by itself too (`allod.text.pieces` says which, and why that is exact), so a long message
with another end is not read anew either. It is read from the last known word but one: up to the last, its
tokens must be those that are known, or else all of it is read.
"""

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from allod.core.ids import TenantId, TokenId
from allod.prefix.keys import common
from allod.text.cuts import Cut, Encoded, Word

LEAST_CHARACTERS = 4096
"""Shorter texts are read anew: that takes about a millisecond."""

MOST_TEXTS = 64
MOST_CHARACTERS = 4 * 2**20
"""Of all texts of a model that are remembered; their tokens take up to ten times as many bytes."""


class CuttingCodec(Protocol):
    """A tokenizer that knows where texts can be cut."""

    def encode(self, text: str, *, special: bool) -> tuple[TokenId, ...]:
        """Text to tokens; `special` has those in it that the tokenizer adds by itself."""
        ...

    def encoded(self, text: str) -> Encoded:
        """Text to tokens, without what the tokenizer adds by itself."""
        ...


class PromptEncoder:
    """Turns the prompts of one model into tokens, and remembers the last ones, each for its tenant alone.

    Args:
        codec: the model's tokenizer.
        least_characters: shorter texts are not remembered.
        most_texts: how many are.
        most_characters: of all of them.
    """

    def __init__(
        self,
        codec: CuttingCodec,
        least_characters: int = LEAST_CHARACTERS,
        most_texts: int = MOST_TEXTS,
        most_characters: int = MOST_CHARACTERS,
    ) -> None:
        self._codec = codec
        self._least_characters = least_characters
        self._most_texts = most_texts
        self._most_characters = most_characters
        self._known: OrderedDict[tuple[TenantId, str], Encoded] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, tenant: TenantId, text: str) -> tuple[TokenId, ...]:
        """Text to tokens, as the tokenizer would do it.

        Args:
            tenant: whose text it is: how long this takes tells nobody what others have said.
            text: any.
        """
        if len(text) < self._least_characters:
            return self._codec.encode(text, special=False)
        with self._lock:
            known = [(before, found) for (whose, before), found in self._known.items() if whose == tenant]
        encoded = self._continued(known, text)
        with self._lock:
            self._remember(tenant, text, encoded)
        return encoded.tokens

    def _continued(self, known: Sequence[tuple[str, Encoded]], text: str) -> Encoded:
        """A text as tokens: those of a known one up to the last seam that they share, and its own."""
        shared = [(_last_seam(before, found, text), found) for before, found in known]
        seam, found = max(shared, key=lambda pair: pair[0].place, default=(_NOWHERE, _NOTHING))
        if seam.place > 0:
            rest = self._codec.encoded(text[seam.start :])
            if _holds(seam, found, rest):
                return _joined(seam, found, rest)
        return self._codec.encoded(text)

    def _remember(self, tenant: TenantId, text: str, encoded: Encoded) -> None:
        self._known[tenant, text] = encoded
        self._known.move_to_end((tenant, text))
        while len(self._known) > self._most_texts or self._characters > self._most_characters:
            self._known.popitem(last=False)

    @property
    def _characters(self) -> int:
        return sum(len(text) for _, text in self._known)


class _Seam(NamedTuple):
    """Where a known text ends and another goes on.

    Attributes:
        place: of the first token that is read anew.
        start: of its text.
        word: the word behind it that both texts must have; None where the seam is before a special token.
    """

    place: int
    start: int
    word: Word | None = None


_NOWHERE = _Seam(0, 0)
_NOTHING = Encoded((), ())


def _last_seam(before: str, found: Encoded, text: str) -> _Seam:
    """Before the last special token that two texts share, or before the last known word but one."""
    agreed = common(before, text)
    cuts = bisect_right(found.cuts, agreed, key=lambda cut: cut.end)
    seam = _Seam(*found.cuts[cuts - 1][:2]) if cuts else _NOWHERE
    words = bisect_right(found.words, agreed - _WORD_BEGINS_CHARACTERS, key=lambda word: word.start)
    if words < 2 or found.words[words - 2].place < seam.place:
        return seam
    return _Seam(*found.words[words - 2], word=found.words[words - 1])


_WORD_BEGINS_CHARACTERS = 2
"""The space before a word and its first letter: without them it is not the same word."""


def _holds(seam: _Seam, found: Encoded, rest: Encoded) -> bool:
    """Whether what was read from a seam on begins like what is known of it.

    A word that ends what is known must be one in the new text too: all else follows from that, as
    `allod.text.pieces` says. That the tokens up to it are the same is looked at for what nobody thought of.
    """
    if seam.word is None:
        return rest.cuts[:1] != () and rest.cuts[0][:2] == (0, 0)
    place, start = seam.word
    same = found.tokens[seam.place : place] == rest.tokens[: place - seam.place]
    return same and rest.words[:1] == (Word(place - seam.place, start - seam.start),)


def _joined(seam: _Seam, found: Encoded, rest: Encoded) -> Encoded:
    """The tokens of a known text up to a seam and those behind it, with all that is known of cuts in them."""
    cuts = bisect_left(found.cuts, seam.place, key=lambda cut: cut.place)
    words = bisect_right(found.words, seam.place, key=lambda word: word.place)
    place, start = seam.place, seam.start
    more_cuts = (Cut(each.place + place, each.start + start, each.end + start) for each in rest.cuts)
    more_words = (Word(each.place + place, each.start + start) for each in rest.words)
    return Encoded(
        found.tokens[:place] + rest.tokens,
        (*found.cuts[:cuts], *more_cuts),
        (*found.words[:words], *more_words),
    )
