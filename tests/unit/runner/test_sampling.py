"""Sampling laws: each row by its own rules, whatever else is in the batch."""

import math
from collections import Counter
from typing import cast

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.core.sampling import Sampling
from allod.runner.masks import Allowed
from allod.runner.sampling import Sampler, SamplerRow, scores_of, uniform

pytestmark = pytest.mark.mlx

VOCABULARY = 12
LINE = [2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def sampler(*rules: Sampling, prompts: list[list[int]] | None = None) -> Sampler:
    rows = Sampler(VOCABULARY)
    prompts = prompts or [[] for _ in rules]
    rows.add(
        [SamplerRow.start(rule, prompt, VOCABULARY) for rule, prompt in zip(rules, prompts, strict=True)]
    )
    return rows


def draw(rows: Sampler, times: int, line: list[float] = LINE) -> list[list[int]]:
    logits = mx.array([line] * len(rows.rows))
    return [cast("list[int]", rows.choose(logits).tokens.tolist()) for _ in range(times)]


def probabilities(line: list[float], temperature: float = 1.0) -> list[float]:
    weights = [math.exp(value / temperature) for value in line]
    return [weight / sum(weights) for weight in weights]


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 10**6))
def test_uniform_numbers_stay_below_one(seed: int, position: int) -> None:
    """A drawn number is in [0, 1) and survives float32 unrounded."""
    number = uniform(seed, position)
    assert 0.0 <= number < 1.0
    assert mx.array(number, dtype=mx.float32).item() == number


def test_greedy_ignores_filters_and_seeds() -> None:
    """Temperature 0 is argmax, whatever else is set."""
    rows = sampler(Sampling(temperature=0.0, top_p=0.1, top_k=1, seed=3))
    assert draw(rows, 3) == [[0], [0], [0]]


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_frequencies_follow_the_distribution(temperature: float) -> None:
    """Over many draws each token comes up as often as softmax(logits / temperature) says."""
    draws = 6000
    counts = Counter(row[0] for row in draw(sampler(Sampling(temperature=temperature, seed=11)), draws))
    for token, expected in enumerate(probabilities(LINE, temperature)):
        spread = 5 * math.sqrt(expected * (1 - expected) / draws) + 1e-3
        assert counts[token] / draws == pytest.approx(expected, abs=spread)


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        (Sampling(top_k=3), {0, 1, 2}),
        (Sampling(top_k=1), {0}),
        (Sampling(top_p=0.0001), {0}),
        (Sampling(top_p=0.5), {0, 1}),
        (Sampling(min_p=0.5), {0, 1}),
        (Sampling(top_k=3, top_p=0.999), {0, 1, 2}),
        (Sampling(top_k=5, min_p=0.5), {0, 1}),
        (Sampling(logit_bias=((11, 100.0),)), {11}),
        (Sampling(logit_bias=((0, -100.0), (1, -100.0)), top_k=1), {2}),
    ],
)
def test_filters_keep_exactly_the_allowed_tokens(rules: Sampling, allowed: set[int]) -> None:
    """Over many draws a filtered row yields every allowed token and no other."""
    assert {row[0] for row in draw(sampler(rules), 400)} == allowed


def test_a_seeded_row_does_not_care_what_else_is_in_the_batch() -> None:
    """Alone, first, last, beside penalties and filters: the same tokens."""
    seeded = Sampling(temperature=1.2, top_p=0.95, seed=42)
    alone = [row[0] for row in draw(sampler(seeded), 40)]
    crowd = sampler(
        Sampling(temperature=0.0),
        seeded,
        Sampling(top_k=2, frequency_penalty=1.0, seed=7),
        Sampling(min_p=0.2, top_logprobs=2),
        seeded,
    )
    together = draw(crowd, 40)
    assert [row[1] for row in together] == alone
    assert [row[4] for row in together] == alone


def test_a_row_keeps_its_place_in_its_own_sequence_when_others_leave() -> None:
    """Dropping rows moves neither seeds nor histories."""
    seeded = Sampling(temperature=1.0, seed=1, frequency_penalty=0.8)
    alone = [row[0] for row in draw(sampler(seeded), 20)]
    rows = sampler(Sampling(), seeded, Sampling(presence_penalty=1.0))
    first = [row[1] for row in draw(rows, 8)]
    rows.keep([1])
    assert first + [row[0] for row in draw(rows, 12)] == alone


def test_unseeded_rows_differ() -> None:
    """Rows without a seed do not repeat each other."""
    rows = draw(sampler(Sampling(), Sampling()), 60)
    assert [row[0] for row in rows] != [row[1] for row in rows]


def test_penalties_follow_their_formulas() -> None:
    """Greedy rows move on exactly when the penalised logit falls below the next one."""
    flat = [1.0, 0.9] + [-5.0] * (VOCABULARY - 2)
    presence = sampler(Sampling(temperature=0.0, presence_penalty=0.2))
    assert [row[0] for row in draw(presence, 3, flat)] == [0, 1, 0]
    frequency = sampler(Sampling(temperature=0.0, frequency_penalty=0.06))
    assert [row[0] for row in draw(frequency, 5, flat)] == [0, 0, 1, 0, 1]
    repetition = sampler(Sampling(temperature=0.0, repetition_penalty=2.0), prompts=[[0]])
    assert [row[0] for row in draw(repetition, 2, flat)] == [1, 0]


def test_prompt_counts_for_repetition_only() -> None:
    """Presence and frequency look at the answer, repetition at prompt and answer (module docstrings)."""
    flat = [1.0, 0.9] + [-5.0] * (VOCABULARY - 2)
    rows = sampler(
        Sampling(temperature=0.0, presence_penalty=0.5, frequency_penalty=0.5), prompts=[[0, 0, 0]]
    )
    assert draw(rows, 1, flat) == [[0]]


def test_log_probabilities_are_the_models_own() -> None:
    """Scores are log-softmax of the raw logits, before temperature, bias and filters, most likely first."""
    rules = Sampling(temperature=0.3, top_k=1, logit_bias=((3, 50.0),), top_logprobs=3)
    rows = sampler(rules, Sampling(temperature=0.0))
    choice = rows.choose(mx.array([LINE, LINE]))
    first, second = scores_of(choice, rows.rows)
    assert second is None
    assert first is not None
    expected = [math.log(value) for value in probabilities(LINE)]
    assert first.chosen == pytest.approx(expected[3], abs=1e-5)
    assert [token for token, _ in first.alternatives] == [0, 1, 2]
    assert [value for _, value in first.alternatives] == pytest.approx(expected[:3], abs=1e-5)


def test_log_probabilities_do_not_know_of_penalties() -> None:
    """Penalties change what is chosen, not what the model held likely, and not the caller's logits."""
    rules = Sampling(temperature=0.0, repetition_penalty=100.0, top_logprobs=2)
    rows = sampler(rules, prompts=[[0]])
    logits = mx.array([LINE])
    [score] = scores_of(rows.choose(logits), rows.rows)
    assert score is not None
    assert score.chosen == pytest.approx(math.log(probabilities(LINE)[1]), abs=1e-5)
    assert [token for token, _ in score.alternatives] == [0, 1]
    assert logits.tolist() == [LINE]


def test_masked_tokens_never_come() -> None:
    """Whatever the filters say, and in its own row only."""
    rules = [Sampling(temperature=1.0), Sampling(temperature=3.0, top_p=0.5), Sampling(top_k=2, min_p=0.3)]
    rows = sampler(*rules, Sampling())
    may = mx.array([[token >= VOCABULARY - 2 for token in range(VOCABULARY)]] * 3)
    permit = Allowed((0, 1, 2), may)
    drawn = [rows.choose(mx.array([LINE] * 4), permit).tokens.tolist() for _ in range(200)]
    columns = list(zip(*cast("list[list[int]]", drawn), strict=True))
    for column in columns[:3]:
        assert set(column) <= {VOCABULARY - 2, VOCABULARY - 1}
    assert len(set(columns[3])) > 3


def test_zero_alternatives_still_score_the_chosen_token() -> None:
    """`logprobs: true` without `top_logprobs` gives the chosen token's score alone."""
    rows = sampler(Sampling(temperature=0.0, top_logprobs=0))
    (scores,) = scores_of(rows.choose(mx.array([LINE])), rows.rows)
    assert scores is not None
    assert scores.alternatives == ()
    assert scores.chosen == pytest.approx(math.log(probabilities(LINE)[0]), abs=1e-5)
