"""Prompts turned into tokens from where they differ from ones before: conversations grow at their end.

Tokenizers cut a text at its special tokens first and read what is between them by itself. So the tokens
before a special token stay the same, whatever comes after it, and that does not depend on what was before.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from allod.core.ids import TenantId, TokenId
from allod.text.cuts import Cut, Encoded

LEAST_CHARACTERS = 4096
"""Shorter texts are read anew: that takes about a millisecond."""

MOST_TEXTS = 64
MOST_CHARACTERS = 4 * 2**20
"""Of all texts of a model that are remembered; their tokens take up to ten times as many bytes."""


class CuttingCodec(Protocol):
    """A tokenizer that knows where texts can be cut."""

    def encoded(self, text: str) -> Encoded:
        """Text to tokens, without what the tokenizer adds by itself."""
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    tenant: TenantId
    text: str
    encoded: Encoded


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
        self._known: OrderedDict[tuple[TenantId, str], _Known] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def encode(self, tenant: TenantId, text: str) -> tuple[TokenId, ...]:
        """Text to tokens, as the tokenizer would do it.

        Args:
            tenant: whose text it is: how long this takes tells nobody what others have said.
            text: any.
        """
        if len(text) < self._least_characters:
            return self._codec.encoded(text).tokens
        with self._lock:
            known = [each for each in self._known.values() if each.tenant == tenant]
        found = self._continued(known, text)
        with self._lock:
            self._remember(_Known(tenant, text, found))
        return found.tokens

    def _continued(self, known: list[_Known], text: str) -> Encoded:
        cut, before = max(
            ((_last_cut(each, text), each) for each in known),
            key=lambda pair: pair[0],
            default=(_NOWHERE, None),
        )
        if before is not None and cut.place > 0:
            rest = self._codec.encoded(text[cut.start :])
            if rest.cuts and rest.cuts[0][:2] == (0, 0):
                kept = tuple(each for each in before.encoded.cuts if each.place < cut.place)
                moved = (
                    Cut(each.place + cut.place, each.start + cut.start, each.end + cut.start)
                    for each in rest.cuts
                )
                return Encoded(before.encoded.tokens[: cut.place] + rest.tokens, (*kept, *moved))
        return self._codec.encoded(text)

    def _remember(self, newest: _Known) -> None:
        if self._known.pop((newest.tenant, newest.text), None) is None:
            self._characters += len(newest.text)
        self._known[newest.tenant, newest.text] = newest
        while len(self._known) > self._most_texts or self._characters > self._most_characters:
            (_, text), _ = self._known.popitem(last=False)
            self._characters -= len(text)


_NOWHERE = Cut(0, 0, 0)


def _last_cut(known: _Known, text: str) -> Cut:
    """The last special token that two texts share, with all before it."""
    agreed = _agreed(known.text, text)
    return max((cut for cut in known.encoded.cuts if cut.end <= agreed), default=_NOWHERE)


def _agreed(left: str, right: str) -> int:
    """How many characters two texts begin with in common: halving, since comparing slices is fast."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
