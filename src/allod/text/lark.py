"""Pieces of llguidance's Lark dialect, as one tokenizer spells them.

Added tokens stand in a grammar as token references: that holds a mark to the one token that the model was
taught, and only so can special tokens, which have no text, be written at all.
"""

import itertools
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from llguidance import regex_to_lark

from allod.core.ids import TokenId

HEADER = "%llguidance {}"


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What grammars need to know of a model's tokens.

    Attributes:
        path: the model's `tokenizer.json`.
        added: ids of the tokens beside the vocabulary proper, special or not, by their text.
        special: those that are not text.
        size: one more than the largest id of the tokenizer.
        scored: how many ids the model scores, padding included.
        ends: tokens that end an answer. No grammar writes them: they are allowed where it is complete.
    """

    path: str
    added: Mapping[str, TokenId]
    special: frozenset[TokenId]
    size: int
    scored: int
    ends: tuple[TokenId, ...]


class Speller:
    """Writes terms for one tokenizer.

    Args:
        tokens: its tokens.
        ending: more tokens that end an answer, by their text.
    """

    def __init__(self, tokens: TokenFacts, ending: Sequence[str] = ()) -> None:
        self._tokens = tokens
        also = (tokens.added.get(text) for text in ending)
        self._ends = {*tokens.ends, *(token for token in also if token is not None)}
        # Gemma has added tokens for runs of spaces and line ends; in a grammar they are plain text.
        marks = sorted((text for text in tokens.added if text.strip()), key=len, reverse=True)
        self._marks = re.compile("(" + "|".join(map(re.escape, marks)) + ")") if marks else None

    def term(self, text: str) -> str:
        """This exact text; an end token in it is left out."""
        pieces = self._marks.split(text) if self._marks else [text]
        terms = [self._piece(piece) for piece in pieces if piece]
        terms = [term for term in terms if term] or ['""']
        return terms[0] if len(terms) == 1 else f"({' '.join(terms)})"

    def token(self, text: str) -> TokenId | None:
        """The added token that this text is, if it is one."""
        return self._tokens.added.get(text)

    def words(self, *, without: Iterable[TokenId | None] = ()) -> str:
        """Any one token that is text."""
        return self._any_but({*self._tokens.special, *without})

    def anything(self, *, without: Iterable[TokenId | None] = ()) -> str:
        """Any one token that does not end the answer."""
        return self._any_but(set(without))

    def _any_but(self, barred: set[TokenId | None]) -> str:
        ranges = _ranges(self._tokens.size, {*barred, *self._ends})
        return f"<[{','.join(ranges)}]>"

    def _piece(self, piece: str) -> str:
        token = self._tokens.added.get(piece)
        if token is None or not piece.strip():
            return quoted(piece)
        return "" if token in self._ends else f"<[{token}]>"


def quoted(text: str) -> str:
    """A string literal."""
    return json.dumps(text, ensure_ascii=False)


def pattern(regex: str) -> str:
    """A regular expression as a terminal; its classes of characters are Unicode's, as in Rust."""
    return f"/{regex_to_lark(regex, '')}/"


def up_to(most: int | None) -> str:
    """The repetition of what stands before: any number of times, or at most so often."""
    return "*" if most is None else f"{{0,{most}}}"


def serialised(lark: str, **others: str) -> str:
    """A grammar, and others by the name that `@name` refers to, in the form that matchers take."""
    grammars = [{"name": "main", "lark_grammar": lark}]
    grammars += [{"name": name, "lark_grammar": other} for name, other in others.items()]
    return json.dumps({"grammars": grammars})


def _ranges(size: int, barred: Collection[TokenId | None]) -> list[str]:
    """The ids below `size` that are not barred, as inclusive ranges."""
    edges = [-1, *sorted(token for token in barred if token is not None and 0 <= token < size), size]
    return [f"{low + 1}-{high - 1}" for low, high in itertools.pairwise(edges) if high - low > 1]
