"""Which tokens a row's grammar allows next, as llguidance tells it.

A grammar's masks are bits on the host, 32 tokens to a word; they are spread out on the device. Matching is
an affair of microseconds beside a step's milliseconds, so it happens where the step is built.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import mlx.core as mx
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from allod.core.ids import TokenId

_WORD_BITS = 32
_MOST_GRAMMARS = 32
_MOST_TOKENIZERS = 4
_LIMITS = LLParserLimits(max_grammar_size=200_000, verbose_errors=False)

log = logging.getLogger(__name__)

Words = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A grammar, and the tokens that end an answer to it."""

    grammar: str
    ends: tuple[TokenId, ...]


class Follower:
    """One row's way through its grammar.

    Args:
        matcher: stands at the start; None where the tokenizer cannot be used.
        end_only: the mask of the tokens that end an answer.
        lost: called when the grammar cannot be followed any further.

    Attributes:
        waits: it gave a mask, and has yet to read the token that was chosen under it.
    """

    def __init__(self, matcher: LLMatcher | None, end_only: Words, lost: Callable[[], object]) -> None:
        self.waits = False
        self._matcher = matcher
        self._end_only = end_only
        self._lost = lost
        if matcher is None or matcher.is_error():
            self._give_up()

    @property
    def is_lost(self) -> bool:
        """The grammar cannot be followed any further."""
        return self._matcher is None

    def read(self, token: TokenId) -> None:
        """Go on by one token; what comes after the end changes nothing."""
        self.waits = False
        matcher = self._matcher
        if matcher is None or matcher.is_stopped():
            return
        if not matcher.consume_token(token):
            self._give_up()

    def mask(self) -> Words:
        """One bit a token: those that may come next. When the grammar is complete, an end token may.

        A grammar that cannot be followed any further, because it outgrew its limits, leaves the end
        tokens alone: the answer ends, rather than going on without the form that was promised.
        """
        self.waits = True
        if self._matcher is not None:
            words = len(self._end_only)
            mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint32)[:words]
            if not self._matcher.is_error() and mask.any():
                return mask
            self._give_up()
        return self._end_only

    def _give_up(self) -> None:
        reason = self._matcher.stop_reason() if self._matcher else "the tokenizer cannot be used"
        log.warning("a grammar cannot be followed any further, so its answer ends: %s", reason)
        self._matcher = None
        self._lost()


class Masks:
    """Makes followers for the grammars of one model.

    Args:
        tokenizer: the model's `tokenizer.json`; read when the first grammar comes.
        vocabulary: how many ids the model scores.
    """

    def __init__(self, tokenizer: Path, vocabulary: int) -> None:
        self._path = tokenizer
        self._vocabulary = vocabulary
        self._words = -(-vocabulary // _WORD_BITS)
        self._tokenizers: OrderedDict[tuple[TokenId, ...], LLTokenizer | None] = OrderedDict()
        self._fresh: OrderedDict[_Kind, LLMatcher] = OrderedDict()

    def follow(self, grammar: str, ends: tuple[TokenId, ...], said: Sequence[TokenId] = ()) -> Follower:
        """A follower that has read what was said.

        Args:
            grammar: `Submit.grammar`; not empty.
            ends: the tokens that end an answer.
            said: the answer so far.
        """
        end_only = _bits([token for token in ends if token < self._vocabulary], self._words)
        kind = _Kind(grammar, ends)
        # What broke one copy of a matcher may have broken the tables that all copies share.
        follower = Follower(self._matcher(kind), end_only, lambda: self._fresh.pop(kind, None))
        for token in said:
            follower.read(token)
        return follower

    def _matcher(self, kind: _Kind) -> LLMatcher | None:
        """A matcher at the start. Compiled ones are kept and copied; copies share their lexer's tables."""
        fresh = self._fresh.pop(kind, None)
        if fresh is None:
            tokenizer = self._tokenizer(kind.ends)
            if tokenizer is None:
                return None
            fresh = LLMatcher(tokenizer, kind.grammar, log_level=0, limits=_LIMITS)
        _remember(self._fresh, kind, fresh, _MOST_GRAMMARS)
        return fresh.deep_copy()

    def _tokenizer(self, ends: tuple[TokenId, ...]) -> LLTokenizer | None:
        if ends not in self._tokenizers:
            _remember(self._tokenizers, ends, self._read_tokenizer(ends), _MOST_TOKENIZERS)
        return self._tokenizers[ends]

    def _read_tokenizer(self, ends: tuple[TokenId, ...]) -> LLTokenizer | None:
        """The tokenizer with these ends; None, and a line in the log, where it cannot be used."""
        for most in (self._vocabulary, None):  # a tokenizer may know more tokens than the model scores
            try:
                return LLTokenizer(str(self._path), n_vocab=most, eos_token=list(ends) or None)
            except (ValueError, OSError) as error:
                log.warning("masks cannot use this tokenizer with %s tokens: %s", most, error)
        return None


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may come next in the rows that have a grammar.

    Attributes:
        rows: their places in the batch.
        tokens: (rows, V) bool.
    """

    rows: tuple[int, ...]
    tokens: mx.array

    def of(self, logits: mx.array) -> mx.array:
        """Logits (B, V), with those of tokens that are not allowed at minus infinity."""
        if len(self.rows) == logits.shape[0]:
            return mx.where(self.tokens, logits, -mx.inf)
        rows = mx.array(self.rows)
        masked = mx.array(logits)  # an assignment changes the array it is made on
        masked[rows] = mx.where(self.tokens, logits[rows], -mx.inf)
        return masked


def allowed(followers: Sequence[Follower | None], last: mx.array, vocabulary: int) -> Allowed | None:
    """The masks of a batch's next tokens; None where no row has a grammar.

    Reading the last tokens waits for the step that makes them, so the caller starts the next step's work
    on the device before it asks.

    Args:
        followers: one of each row; None for a free one.
        last: (B,) the tokens that the rows read in this step.
        vocabulary: V.
    """
    following = [(row, follower) for row, follower in enumerate(followers) if follower is not None]
    if not following:
        return None
    if any(follower.waits for _, follower in following):
        tokens = cast("list[int]", last.tolist())
        for row, follower in following:
            if follower.waits:
                follower.read(tokens[row])
    masks = [follower.mask() for _, follower in following]
    return Allowed(tuple(row for row, _ in following), _spread(masks, vocabulary))


def _spread(words: Sequence[Words], vocabulary: int) -> mx.array:
    """Masks as (rows, V) bool on the device."""
    packed = mx.array(np.stack(words))
    bits = (packed[:, :, None] >> mx.arange(_WORD_BITS, dtype=mx.uint32)) & 1
    return bits.reshape(len(words), -1)[:, :vocabulary].astype(mx.bool_)


def _bits(tokens: Sequence[TokenId], words: int) -> Words:
    """A mask of just these tokens; of all, where none is given, since something must come."""
    if not tokens:
        return np.full(words, 2**32 - 1, dtype=np.uint32)
    mask = np.zeros(words, dtype=np.uint32)
    for token in tokens:
        mask[token // _WORD_BITS] |= np.uint32(1 << token % _WORD_BITS)
    return mask


K = TypeVar("K")
V = TypeVar("V")


def _remember(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Keep a value as the newest, and forget the oldest beyond `most`."""
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)
