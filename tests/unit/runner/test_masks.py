"""Followers of grammars: what may come next, and what happens where nothing may."""

import logging
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from tests.scaffolding.tokenizers import MarkedBytes, marked_bytes

from allod.runner.masks import Allowed, Masks, allowed

pytestmark = pytest.mark.mlx

SCORED = 300
WORD = 'start: "ab" | "ac"'


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> MarkedBytes:
    return marked_bytes(tmp_path_factory.mktemp("tokenizer"), scored=SCORED)


@pytest.fixture
def masks(tokens: MarkedBytes) -> Masks:
    return Masks(Path(tokens.facts.path), SCORED)


def named(tokens: MarkedBytes, text: str) -> list[int]:
    return sorted(tokens.ids(text))


def next_tokens(mask: np.ndarray) -> list[int]:
    return [token for token in range(SCORED) if mask[token // 32] >> (token % 32) & 1]


def test_a_follower_reads_and_tells_what_may_come(masks: Masks, tokens: MarkedBytes):
    """First the form, then an end token; what comes after the end changes nothing."""
    end, other_end = tokens.facts.ends
    follower = masks.follow(WORD, (end,))
    for text, following in (("a", "a"), ("b", "bc")):
        assert next_tokens(follower.mask()) == named(tokens, following)
        assert follower.waits
        follower.read(tokens.ids(text)[0])
        assert not follower.waits
    assert next_tokens(follower.mask()) == [end]
    for token in (end, 5, other_end):
        follower.read(token)
        assert next_tokens(follower.mask()) == [end]


def test_followers_of_one_grammar_go_their_own_ways(masks: Masks, tokens: MarkedBytes):
    """Copies of a compiled grammar share nothing that moves; what was said is read at once."""
    ends = tokens.facts.ends
    first, second = masks.follow(WORD, ends), masks.follow(WORD, ends, said=tokens.ids("a"))
    assert next_tokens(first.mask()) == named(tokens, "a")
    assert next_tokens(second.mask()) == named(tokens, "bc")
    assert next_tokens(masks.follow(WORD, ends).mask()) == named(tokens, "a")


@pytest.mark.parametrize("grammar", ["start: nowhere", "", '{"grammars": []}', "start: <[1000000]>"])
def test_a_grammar_that_fails_ends_its_answer(
    masks: Masks, tokens: MarkedBytes, grammar: str, caplog: pytest.LogCaptureFixture
):
    """Only end tokens are left, one line is logged, and the next grammar works."""
    with caplog.at_level(logging.WARNING):
        follower = masks.follow(grammar, tokens.facts.ends)
        assert next_tokens(follower.mask()) == sorted(tokens.facts.ends)
        follower.read(7)
        assert next_tokens(follower.mask()) == sorted(tokens.facts.ends)
    assert len(caplog.records) == 1
    assert next_tokens(masks.follow(WORD, tokens.facts.ends).mask()) == named(tokens, "a")


def test_a_token_against_the_grammar_ends_the_answer(masks: Masks, tokens: MarkedBytes):
    """It cannot happen under a mask; if it does, no text follows that pretends to be in form."""
    follower = masks.follow(WORD, tokens.facts.ends, said=tokens.ids("x"))
    assert next_tokens(follower.mask()) == sorted(tokens.facts.ends)


def test_a_tokenizer_that_cannot_be_used(tmp_path: Path):
    """The worker lives, and the answer ends at once."""
    (tmp_path / "tokenizer.json").write_text("{}")
    masks = Masks(tmp_path / "tokenizer.json", SCORED)
    assert next_tokens(masks.follow(WORD, (3, 40)).mask()) == [3, 40]


def test_without_end_tokens_a_lost_row_is_free(tmp_path: Path):
    """Something must come: with no token to end with, any may."""
    masks = Masks(tmp_path / "missing.json", SCORED)
    assert next_tokens(masks.follow(WORD, ()).mask()) == list(range(SCORED))


def test_a_model_that_scores_fewer_tokens_than_its_tokenizer_has(tokens: MarkedBytes):
    """The mask is as long as the logits."""
    masks = Masks(Path(tokens.facts.path), 200)
    mask = masks.follow("start: /[a-z]+/", tokens.facts.ends).mask()
    assert len(mask) == 7


def test_masks_spread_to_their_rows(masks: Masks, tokens: MarkedBytes):
    """Free rows keep their logits bit for bit, constrained rows those of their allowed tokens."""
    followers = [None, masks.follow(WORD, tokens.facts.ends), None, masks.follow("start: /[a-c]/", (3,))]
    logits = mx.random.normal((4, SCORED))
    before = np.array(logits)
    permit = allowed(followers, mx.array([1, 2, 3, 4]), SCORED)
    assert isinstance(permit, Allowed)
    after = np.array(permit.of(logits))
    assert np.array_equal(np.array(logits), before)
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    for row, text in ((1, "a"), (3, "abc")):
        finite = np.flatnonzero(np.isfinite(after[row])).tolist()
        assert finite == named(tokens, text)
        assert np.array_equal(after[row, finite], before[row, finite])
    every = [masks.follow(WORD, tokens.facts.ends) for _ in range(4)]
    whole = allowed(every, mx.array([1, 2, 3, 4]), SCORED)
    assert whole is not None
    assert np.isfinite(np.array(whole.of(logits))).sum() == 4


def test_a_free_batch_has_no_masks():
    """Nothing is read and nothing is masked."""
    assert allowed([None, None], mx.array([1, 2]), SCORED) is None


def test_a_row_reads_its_token_at_the_next_step(masks: Masks, tokens: MarkedBytes):
    """The first mask is asked for before any token is chosen; each later one reads the token before."""
    follower = masks.follow(WORD, tokens.facts.ends)
    first = allowed([None, follower], mx.array([9, 9]), SCORED)
    second = allowed([follower], mx.array(tokens.ids("a")), SCORED)
    assert first is not None
    assert second is not None
    assert np.flatnonzero(np.array(first.tokens[0])).tolist() == named(tokens, "a")
    assert np.flatnonzero(np.array(second.tokens[0])).tolist() == named(tokens, "bc")
