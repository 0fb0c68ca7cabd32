"""The next token of every row in one vectorised pass, each row by its own rules.

A row's choice is the inverse of its cumulative distribution at one uniform number. For a seeded row
that number is a function of (seed, position) alone, so the row does not care what else is in the
batch. Filters become one threshold per row; ids keep their order, so no permutation is undone.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import mlx.core as mx

from allod.core.sampling import Sampling
from allod.core.step import Scores
from allod.runner.masks import Allowed, Follower, allowed

_MASK = 2**64 - 1
_UNIFORM_BITS = 24
"""A float32 holds this many bits of a uniform number exactly, so that it never rounds up to 1."""


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) from a seed and a position.

    SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure 15),
    read at its `position`-th state.
    """
    mixed = (seed * 0xD1342543DE82EF95 + (position + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    mixed ^= mixed >> 31
    return (mixed >> (64 - _UNIFORM_BITS)) / (1 << _UNIFORM_BITS)


@dataclass(slots=True)
class SamplerRow:
    """One row's rules and what it has seen.

    Attributes:
        sampling: its rules.
        seed: the seed in force, drawn when the rules name none.
        position: tokens asked for so far.
        seen: (V,) bool, tokens in prompt or answer; None when no rule needs it.
        counts: (V,) float32, occurrences in the answer; None when no rule needs it.
        follower: the row's way through its grammar; None for free text.
    """

    sampling: Sampling
    seed: int
    position: int = 0
    seen: mx.array | None = None
    counts: mx.array | None = None
    follower: Follower | None = None

    @classmethod
    def start(cls, sampling: Sampling, prompt: Sequence[int], vocabulary: int) -> "SamplerRow":
        """A row that has produced nothing yet."""
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed & _MASK
        row = cls(sampling, seed)
        if sampling.needs_history:
            row.seen = mx.zeros((vocabulary,), dtype=mx.bool_)
            if prompt:
                row.seen[mx.array(prompt)] = True
            row.counts = mx.zeros((vocabulary,), dtype=mx.float32)
        return row

    def replay(self, said: Sequence[int]) -> None:
        """Go on behind an answer that began before; without a seed of its own the row has a new one."""
        self.position += len(said)
        if said and self.seen is not None and self.counts is not None:
            tokens = mx.array(said)
            self.seen[tokens] = True
            self.counts = self.counts.at[tokens].add(1.0)

    def ahead(self, tokens: int) -> "SamplerRow":
        """The row as it will be when so many tokens more are said; for rows without history."""
        return replace(self, position=self.position + tokens)


@dataclass(frozen=True, slots=True)
class Choice:
    """Tokens of one step, still on the device.

    Attributes:
        tokens: (B,) int32.
        logprobs: (B,) float32 of the chosen tokens, or None when nobody asked.
        top_ids: (B, n) int32 and `top_logprobs` (B, n) float32, unordered; None when nobody asked.
    """

    tokens: mx.array
    logprobs: mx.array | None = None
    top_ids: mx.array | None = None
    top_logprobs: mx.array | None = None

    @property
    def arrays(self) -> list[mx.array]:
        """What must be evaluated."""
        parts = (self.tokens, self.logprobs, self.top_ids, self.top_logprobs)
        return [part for part in parts if part is not None]


@dataclass(slots=True)
class Sampler:
    """The rows of a batch, in batch order. Columns of parameters are rebuilt when rows change."""

    vocabulary: int
    rows: list[SamplerRow] = field(default_factory=list[SamplerRow])
    _columns: "_Columns | None" = None

    def add(self, rows: Sequence[SamplerRow]) -> None:
        """Append rows."""
        self.rows.extend(rows)
        self._columns = None

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every row but these."""
        self.rows = [self.rows[index] for index in indices]
        self._columns = None

    def choose_behind(self, last: mx.array, logits: mx.array) -> Choice:
        """Pick the next token of every row, among those that its grammar allows.

        Args:
            last: (B,) the tokens before, which grammars may not have read yet.
            logits: (B, V), see `choose`.
        """
        followers = [row.follower for row in self.rows]
        if any(followers):
            # The device works on this step while the host reads the tokens of the last one.
            mx.async_eval(logits)
        return self.choose(logits, allowed(followers, last, self.vocabulary))

    def choose(self, logits: mx.array, permit: Allowed | None = None) -> Choice:
        """Pick the next token of every row.

        Args:
            logits: (B, V), any floating dtype, as the model gave them.
            permit: what grammars allow; log probabilities are the model's all the same.
        """
        logits = logits.astype(mx.float32)
        columns = self._columns or _Columns.of(self.rows, self.vocabulary)
        self._columns = columns
        adjusted = self._penalise(logits, columns)
        if permit is not None:
            adjusted = permit.of(adjusted)
        tokens = mx.argmax(adjusted, axis=-1)
        if columns.any_sampled:
            tokens = mx.where(columns.greedy, tokens, self._draw(adjusted, columns))
        tokens = tokens.astype(mx.int32)
        self._remember(tokens, columns)
        for row in self.rows:
            row.position += 1
        return _scored(tokens, logits, columns.most_alternatives)

    def _penalise(self, logits: mx.array, columns: "_Columns") -> mx.array:
        if columns.bias is not None:
            logits = logits + columns.bias
        if columns.with_history:
            logits = mx.array(logits)  # an assignment changes the array it is made on
        for index in columns.with_history:
            row = self.rows[index]
            assert row.seen is not None
            assert row.counts is not None
            rules = row.sampling
            line = logits[index]
            penalised = mx.where(line > 0, line / rules.repetition_penalty, line * rules.repetition_penalty)
            line = mx.where(row.seen, penalised, line)
            line = line - rules.frequency_penalty * row.counts
            line = line - rules.presence_penalty * (row.counts > 0)
            logits[index] = line
        return logits

    def _draw(self, logits: mx.array, columns: "_Columns") -> mx.array:
        scaled = logits / columns.temperature
        if columns.filters:
            scaled = mx.where(scaled >= _threshold(scaled, columns), scaled, -mx.inf)
        cumulative = mx.cumsum(mx.softmax(scaled, axis=-1, precise=True), axis=-1)
        numbers = mx.array([[uniform(row.seed, row.position)] for row in self.rows], dtype=mx.float32)
        drawn = mx.sum(cumulative <= numbers * cumulative[:, -1:], axis=-1)
        # Rounding can carry the product up to the total itself, or a sum of many terms onto a token that
        # was filtered out; the most likely token is then as good a choice as any.
        inside = mx.minimum(drawn, self.vocabulary - 1)
        kept = mx.take_along_axis(scaled, inside[:, None], axis=-1).squeeze(-1) > -mx.inf
        return mx.where(kept & (drawn < self.vocabulary), drawn, mx.argmax(scaled, axis=-1))

    def _remember(self, tokens: mx.array, columns: "_Columns") -> None:
        for index in columns.with_history:
            row = self.rows[index]
            assert row.seen is not None
            assert row.counts is not None
            row.seen[tokens[index]] = True
            row.counts = row.counts.at[tokens[index]].add(1.0)


def _threshold(scaled: mx.array, columns: "_Columns") -> mx.array:
    """The smallest logit each row keeps: (B, 1). Order: top_k, then top_p among those, then min_p.

    top_p is Holtzman et al. 2020 (nucleus sampling), min_p is Nguyen et al. 2024.
    """
    best = mx.max(scaled, axis=-1, keepdims=True)
    threshold = best + columns.log_min_p
    if columns.most_ranked:
        ranked = mx.sort(mx.topk(scaled, columns.most_ranked, axis=-1), axis=-1)[:, ::-1]
        ranked = mx.where(mx.arange(columns.most_ranked)[None] < columns.top_k, ranked, -mx.inf)
        likely = mx.softmax(ranked, axis=-1, precise=True)
        before = mx.cumsum(likely, axis=-1) - likely
        kept = (before < columns.top_p) & (ranked > -mx.inf)
        lowest = mx.min(mx.where(kept, ranked, mx.inf), axis=-1, keepdims=True)
        threshold = mx.maximum(threshold, mx.where(columns.ranks, lowest, -mx.inf))
    return mx.minimum(threshold, best)


def _scored(tokens: mx.array, logits: mx.array, most: int | None) -> Choice:
    if most is None:
        return Choice(tokens)
    total = mx.logsumexp(logits, axis=-1, keepdims=True)
    chosen = (mx.take_along_axis(logits, tokens[:, None], axis=-1) - total).squeeze(-1)
    if most == 0:
        return Choice(tokens, chosen)
    ids = mx.argpartition(-logits, kth=most - 1, axis=-1)[:, :most]
    return Choice(tokens, chosen, ids, mx.take_along_axis(logits, ids, axis=-1) - total)


def scores_of(choice: Choice, rows: Sequence[SamplerRow]) -> list[Scores | None]:
    """The host's view of a choice's log probabilities, one entry per row; None where not asked for."""
    if choice.logprobs is None:
        return [None] * len(rows)
    chosen = cast("list[float]", choice.logprobs.tolist())
    ids: list[list[int]] = [[] for _ in rows]
    values: list[list[float]] = [[] for _ in rows]
    if choice.top_ids is not None and choice.top_logprobs is not None:
        ids = cast("list[list[int]]", choice.top_ids.tolist())
        values = cast("list[list[float]]", choice.top_logprobs.tolist())
    scores: list[Scores | None] = []
    for row, logprob, row_ids, row_values in zip(rows, chosen, ids, values, strict=True):
        wanted = row.sampling.top_logprobs
        if wanted is None:
            scores.append(None)
            continue
        ordered = sorted(zip(row_ids, row_values, strict=True), key=lambda pair: -pair[1])
        scores.append(Scores(logprob, tuple(ordered[:wanted])))
    return scores


@dataclass(frozen=True, slots=True)
class _Columns:
    """Parameters of all rows as (B, 1) columns; neutral where a row does not use one."""

    temperature: mx.array
    greedy: mx.array
    top_p: mx.array
    top_k: mx.array
    ranks: mx.array
    log_min_p: mx.array
    bias: mx.array | None
    with_history: tuple[int, ...]
    any_sampled: bool
    filters: bool
    most_ranked: int
    most_alternatives: int | None

    @classmethod
    def of(cls, rows: Sequence[SamplerRow], vocabulary: int) -> "_Columns":
        rules = [row.sampling for row in rows]
        most_ranked = max((_ranked(rule, vocabulary) for rule in rules), default=0)
        alternatives = [rule.top_logprobs for rule in rules if rule.top_logprobs is not None]
        return cls(
            temperature=_column([rule.temperature or 1.0 for rule in rules]),
            greedy=mx.array([rule.is_greedy for rule in rules]),
            top_p=_column([rule.top_p for rule in rules]),
            top_k=_column([float(rule.top_k or vocabulary) for rule in rules]),
            ranks=mx.array([[_ranked(rule, vocabulary) > 0] for rule in rules]),
            log_min_p=mx.log(_column([rule.min_p for rule in rules])),
            bias=_bias(rules, vocabulary),
            with_history=tuple(index for index, rule in enumerate(rules) if rule.needs_history),
            any_sampled=not all(rule.is_greedy for rule in rules),
            filters=most_ranked > 0 or any(rule.min_p > 0 for rule in rules),
            most_ranked=most_ranked,
            most_alternatives=max(alternatives, default=None),
        )


def _ranked(rule: Sampling, vocabulary: int) -> int:
    """How many of the most likely tokens must be put in order for a row: 0 for none."""
    if rule.is_greedy:
        return 0
    if 0 < rule.top_k < vocabulary:
        return rule.top_k
    return vocabulary if rule.top_p < 1.0 else 0


def _column(values: Sequence[float]) -> mx.array:
    return mx.array(values, dtype=mx.float32)[:, None]


def _bias(rules: Sequence[Sampling], vocabulary: int) -> mx.array | None:
    if not any(rule.logit_bias for rule in rules):
        return None
    bias = mx.zeros((len(rules), vocabulary), dtype=mx.float32)
    for row, rule in enumerate(rules):
        if rule.logit_bias:
            ids = mx.array([token for token, _ in rule.logit_bias])
            bias[row, ids] = mx.array([value for _, value in rule.logit_bias], dtype=mx.float32)
    return bias
