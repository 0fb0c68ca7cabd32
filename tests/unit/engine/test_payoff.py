"""Whether drafts pay, learned from those that came back."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.engine.payoff import (
    FIRST_REST_TOKENS,
    LONGEST_REST_TOKENS,
    LOSS_SHARE,
    Bet,
    Costs,
    Payoff,
    Trust,
    best_bet,
    learned,
)

LENGTHS = (1, 3, 7)
ANY = 100
PLAIN = 0.01


def made(lengths: Sequence[int], trust: Trust, token_seconds: float = 0.0) -> Payoff:
    return Payoff(lengths, trust, Costs(token_seconds, forgives_first=trust is Trust.ONCE_WON))


def land(payoff: Payoff, drafted: int, said: int, seconds: float) -> None:
    """A step of one row came back that took so long."""
    payoff.costs.learn(seconds, PLAIN, drafted)
    lost_seconds = payoff.costs.expect(PLAIN, drafted) - said * PLAIN
    payoff.land(drafted, said, lost_seconds, PLAIN)


def pass_plain(payoff: Payoff) -> None:
    payoff.pass_plain()
    payoff.costs.pass_plain()


def rest_tokens(payoff: Payoff) -> int:
    """How many plain tokens a rest lasts."""
    count = 0
    while payoff.rests:
        pass_plain(payoff)
        count += 1
    return count


def test_what_was_never_tried_is_believed_by_what_a_token_takes():
    """Free drafts are tried in full; of dear ones that length which pays, if any does."""
    assert made(LENGTHS, Trust.NEVER).bet(PLAIN, ANY).drafted == 7
    assert made(LENGTHS, Trust.NEVER, PLAIN / 10).bet(PLAIN, ANY).drafted == 7
    assert made(LENGTHS, Trust.NEVER, PLAIN / 2).bet(PLAIN, ANY).drafted == 1
    assert made(LENGTHS, Trust.NEVER, PLAIN).bet(PLAIN, ANY) == Bet()
    # 1.8 tokens in 1.7 steps are too little to be relied on.
    assert made(LENGTHS, Trust.NEVER, 0.7 * PLAIN).bet(PLAIN, ANY).drafted == 1
    assert made(LENGTHS, Trust.ONCE_WON, 0.7 * PLAIN).bet(PLAIN, ANY) == Bet()


@given(most=st.integers(0, 20))
def test_a_draft_is_never_longer_than_it_can_be(most: int):
    """The longest that is tried and fits."""
    assert made(LENGTHS, Trust.NEVER).bet(PLAIN, most).drafted == max((0, *(x for x in LENGTHS if x <= most)))


def test_a_length_that_turned_out_dear_is_left():
    """Others are believed by what is known of the nearest shorter one."""
    payoff = made((3, 7), Trust.NEVER)
    land(payoff, 3, 4, 3.5 * PLAIN)
    assert payoff.bet(PLAIN, ANY).drafted == 7
    land(payoff, 7, 8, 7.9 * PLAIN)
    assert payoff.bet(PLAIN, ANY) == Bet()


def test_a_loss_at_first_makes_a_rest_and_each_further_one_a_longer():
    """A gain ends that."""
    payoff = made(LENGTHS, Trust.NEVER)
    rests: list[int] = []
    for _ in range(10):
        land(payoff, 3, 1, 1.2 * PLAIN)
        rests.append(rest_tokens(payoff))
    assert rests == [min(FIRST_REST_TOKENS * 2**tries, LONGEST_REST_TOKENS) for tries in range(10)]
    land(payoff, 3, 4, 1.2 * PLAIN)
    assert not payoff.rests
    land(payoff, 3, 1, 1.2 * PLAIN)
    assert rest_tokens(payoff) == FIRST_REST_TOKENS


def test_a_draft_model_that_won_may_err():
    """It rests only when what it gains on average is nothing; one that never won is not tried again soon."""
    payoff = made(LENGTHS, Trust.ONCE_WON, PLAIN / 10)
    land(payoff, 3, 4, 1.3 * PLAIN)
    land(payoff, 3, 1, 1.3 * PLAIN)
    assert not payoff.rests
    for _ in range(20):
        if payoff.rests:
            break
        land(payoff, 3, 1, 1.3 * PLAIN)
    assert rest_tokens(payoff) >= FIRST_REST_TOKENS
    land(payoff, 3, 1, 1.3 * PLAIN)
    assert payoff.rests


def test_the_first_of_a_length_is_forgiven_what_it_waited_for():
    """Kernels that are compiled, say: it counts as it was believed to cost, the next one as it does."""
    payoff = made(LENGTHS, Trust.ONCE_WON, PLAIN / 10)
    land(payoff, 3, 4, 100 * PLAIN)
    assert not payoff.rests
    assert payoff.bet(PLAIN, ANY).drafted == 7
    land(payoff, 3, 4, 100 * PLAIN)
    assert payoff.bet(PLAIN, ANY).drafted == 1


@pytest.mark.parametrize("spent", [0.0, 5.0, 30.0])
def test_what_was_lost_is_a_small_part_of_the_rest(spent: float):
    """Also what was spent on reading."""
    payoff = made(LENGTHS, Trust.ONCE_WON, PLAIN)
    payoff.lose(spent * PLAIN)
    land(payoff, 3, 1, 4 * PLAIN)
    expected = max(FIRST_REST_TOKENS, (spent + 3) / LOSS_SHARE)
    assert rest_tokens(payoff) == pytest.approx(expected, abs=1)


def test_what_was_measured_at_load_is_doubted_in_time():
    """A draft model that was loaded on a busy machine is tried some thousand tokens later."""
    payoff = made(LENGTHS, Trust.ONCE_WON, 3 * PLAIN)
    for _ in range(3):
        assert payoff.bet(PLAIN, ANY) == Bet()
        for _ in range(LONGEST_REST_TOKENS + 1):
            pass_plain(payoff)
    assert payoff.bet(PLAIN, ANY).drafted


def test_what_a_step_takes_is_told_by_undisturbed_ones():
    """One that is twice as slow hardly counts; what stays slower, or is faster, is believed in time."""
    assert learned(None, 3.0) == 3.0
    assert learned(1.0, 2.0) == pytest.approx(1.05)
    assert learned(2.0, 1.0) == pytest.approx(1.5)
    slower = 1.0
    for _ in range(100):
        slower = learned(slower, 2.0)
    assert slower == pytest.approx(2.0, rel=0.01)


def test_costs_are_forgotten_in_time():
    """A first draft that waited for a compiler does not end drafts for good."""
    payoff = made(LENGTHS, Trust.NEVER)
    for length in LENGTHS:
        land(payoff, length, 1, 100 * PLAIN)
    assert payoff.bet(PLAIN, ANY) == Bet()
    for _ in range(LONGEST_REST_TOKENS + 1):
        pass_plain(payoff)
    assert payoff.bet(PLAIN, ANY).drafted


def test_rows_are_bet_on_together():
    """All wait for what a step takes longer: two rows with drafts may gain by what one of eight loses."""
    costs = Costs()
    sure, unsure, other = (Payoff((3, 7), Trust.NEVER, costs) for _ in range(3))
    unsure.land(3, 1, -PLAIN, PLAIN)
    assert sure.expected(3) > unsure.expected(3)
    costs.learn(2 * PLAIN, PLAIN, 3, rows=8)
    assert best_bet([(sure, 3)], 8, PLAIN) == Bet()
    costs.learn(2 * PLAIN, PLAIN, 6, rows=2)
    both = best_bet([(sure, 3), (other, 6)], 2, PLAIN)
    assert both.lengths == (3, 3)
    assert both.gain == pytest.approx((sure.expected(3) + other.expected(3)) / 2 / 2)
    assert best_bet([(sure, 3), (other, 2)], 2, PLAIN).lengths == (3, 0)
    assert best_bet([(sure, 9), (other, 9)], 2, PLAIN, most_drafted=9).lengths == (3, 3)
    assert best_bet([(sure, 9), (other, 9)], 2, PLAIN, most_drafted=5) == Bet()
    assert best_bet([], 2, PLAIN) == Bet()


def test_costs_are_those_of_as_many_rows():
    """A step of eight rows says nothing of one of two."""
    costs = Costs(PLAIN / 10)
    costs.learn(9 * PLAIN, PLAIN, 3, rows=8)
    assert costs.expect(PLAIN, 3, rows=8) == 9 * PLAIN
    assert costs.expect(PLAIN, 4, rows=8) == pytest.approx(9.1 * PLAIN)
    assert costs.expect(PLAIN, 3, rows=2) == pytest.approx(1.3 * PLAIN)
