"""Whether drafts pay, learned from those that came back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.engine.payoff import (
    FIRST_REST_TOKENS,
    LONGEST_REST_TOKENS,
    LOSS_SHARE,
    Bet,
    Payoff,
    Trust,
    learned,
)

LENGTHS = (1, 3, 7)
ANY = 100
PLAIN = 0.01


def rest_tokens(payoff: Payoff) -> int:
    """How many plain tokens a rest lasts."""
    count = 0
    while payoff.rests:
        payoff.pass_plain()
        count += 1
    return count


def test_what_was_never_tried_is_believed_by_what_a_token_takes():
    """Free drafts are tried in full; of dear ones that length which pays, if any does."""
    assert Payoff(LENGTHS, Trust.NEVER).bet(PLAIN, ANY).length == 7
    assert Payoff(LENGTHS, Trust.NEVER, PLAIN / 10).bet(PLAIN, ANY).length == 7
    assert Payoff(LENGTHS, Trust.NEVER, PLAIN / 2).bet(PLAIN, ANY).length == 1
    assert Payoff(LENGTHS, Trust.NEVER, PLAIN).bet(PLAIN, ANY) == Bet()
    # 1.8 tokens in 1.7 steps are too little to be relied on.
    assert Payoff(LENGTHS, Trust.NEVER, 0.7 * PLAIN).bet(PLAIN, ANY).length == 1
    assert Payoff(LENGTHS, Trust.ONCE_WON, 0.7 * PLAIN).bet(PLAIN, ANY) == Bet()


@given(most=st.integers(0, 20))
def test_a_draft_is_never_longer_than_it_can_be(most: int):
    """The longest that is tried and fits."""
    assert Payoff(LENGTHS, Trust.NEVER).bet(PLAIN, most).length == max(
        (0, *(x for x in LENGTHS if x <= most))
    )


def test_a_length_that_turned_out_dear_is_left():
    """Others are believed by what is known of the nearest shorter one."""
    payoff = Payoff((3, 7), Trust.NEVER)
    payoff.land(3, 4, 3.5 * PLAIN, PLAIN)
    assert payoff.bet(PLAIN, ANY).length == 7
    payoff.land(7, 8, 7.9 * PLAIN, PLAIN)
    assert payoff.bet(PLAIN, ANY) == Bet()


def test_a_loss_at_first_makes_a_rest_and_each_further_one_a_longer():
    """A gain ends that."""
    payoff = Payoff(LENGTHS, Trust.NEVER)
    rests: list[int] = []
    for _ in range(10):
        payoff.land(3, 1, 1.2 * PLAIN, PLAIN)
        rests.append(rest_tokens(payoff))
    assert rests == [min(FIRST_REST_TOKENS * 2**tries, LONGEST_REST_TOKENS) for tries in range(10)]
    payoff.land(3, 4, 1.2 * PLAIN, PLAIN)
    assert not payoff.rests
    payoff.land(3, 1, 1.2 * PLAIN, PLAIN)
    assert rest_tokens(payoff) == FIRST_REST_TOKENS


def test_a_draft_model_that_won_may_err():
    """It rests only when what it gains on average is nothing; one that never won is not tried again soon."""
    payoff = Payoff(LENGTHS, Trust.ONCE_WON, PLAIN / 10)
    payoff.land(3, 4, 1.3 * PLAIN, PLAIN)
    payoff.land(3, 1, 1.3 * PLAIN, PLAIN)
    assert not payoff.rests
    for _ in range(20):
        if payoff.rests:
            break
        payoff.land(3, 1, 1.3 * PLAIN, PLAIN)
    assert rest_tokens(payoff) >= FIRST_REST_TOKENS
    payoff.land(3, 1, 1.3 * PLAIN, PLAIN)
    assert payoff.rests


def test_the_first_of_a_length_is_forgiven_what_it_waited_for():
    """Kernels that are compiled, say: it counts as it was believed to cost, the next one as it does."""
    payoff = Payoff(LENGTHS, Trust.ONCE_WON, PLAIN / 10)
    payoff.land(3, 4, 100 * PLAIN, PLAIN)
    assert not payoff.rests
    assert payoff.bet(PLAIN, ANY).length == 7
    payoff.land(3, 4, 100 * PLAIN, PLAIN)
    assert payoff.bet(PLAIN, ANY).length == 1


@pytest.mark.parametrize("spent", [0.0, 5.0, 30.0])
def test_what_was_lost_is_a_small_part_of_the_rest(spent: float):
    """Also what was spent on reading."""
    payoff = Payoff(LENGTHS, Trust.ONCE_WON, PLAIN)
    payoff.lose(spent * PLAIN)
    payoff.land(3, 1, 4 * PLAIN, PLAIN)
    expected = max(FIRST_REST_TOKENS, (spent + 3) / LOSS_SHARE)
    assert rest_tokens(payoff) == pytest.approx(expected, abs=1)


def test_what_was_measured_at_load_is_doubted_in_time():
    """A draft model that was loaded on a busy machine is tried some thousand tokens later."""
    payoff = Payoff(LENGTHS, Trust.ONCE_WON, 3 * PLAIN)
    for _ in range(3):
        assert payoff.bet(PLAIN, ANY) == Bet()
        for _ in range(LONGEST_REST_TOKENS + 1):
            payoff.pass_plain()
    assert payoff.bet(PLAIN, ANY).length


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
    payoff = Payoff(LENGTHS, Trust.NEVER)
    for length in LENGTHS:
        payoff.land(length, 1, 100 * PLAIN, PLAIN)
    assert payoff.bet(PLAIN, ANY) == Bet()
    for _ in range(LONGEST_REST_TOKENS + 1):
        payoff.pass_plain()
    assert payoff.bet(PLAIN, ANY).length
