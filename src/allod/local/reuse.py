"""Prompts turned into tokens from where they differ from ones before: conversations grow at their end.

Tokenizers cut a text at its special tokens first and read what is between them by itself. So the tokens
before a special token stay the same, whatever comes after it, and that does not depend on what was before.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from allod.core.ids import TenantId, TokenId
from allod.prefix.keys import common
from allod.text.cuts import Cut, Encoded

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
        """A text as tokens: those of a known one up to the last special token they share, and its own."""
        shared = [(_last_cut(before, found, text), found) for before, found in known]
        cut, found = max(shared, key=lambda pair: pair[0], default=(_NOWHERE, _NOTHING))
        if cut.place > 0:
            rest = self._codec.encoded(text[cut.start :])
            if rest.cuts and rest.cuts[0][:2] == (0, 0):
                kept = tuple(each for each in found.cuts if each.place < cut.place)
                moved = (
                    Cut(each.place + cut.place, each.start + cut.start, each.end + cut.start)
                    for each in rest.cuts
                )
                return Encoded(found.tokens[: cut.place] + rest.tokens, (*kept, *moved))
        return self._codec.encoded(text)

    def _remember(self, tenant: TenantId, text: str, encoded: Encoded) -> None:
        self._known[tenant, text] = encoded
        self._known.move_to_end((tenant, text))
        while len(self._known) > self._most_texts or self._characters > self._most_characters:
            self._known.popitem(last=False)

    @property
    def _characters(self) -> int:
        return sum(len(text) for _, text in self._known)


_NOWHERE = Cut(0, 0, 0)
_NOTHING = Encoded((), ())


def _last_cut(before: str, found: Encoded, text: str) -> Cut:
    """The last special token that two texts share, with all before it."""
    agreed = common(before, text)
    return max((cut for cut in found.cuts if cut.end <= agreed), default=_NOWHERE)
