"""What a text would say next if it repeated itself."""

from hypothesis import given
from hypothesis import strategies as st

from allod.engine.lookup import Lookup

TEXTS = st.lists(st.integers(0, 3), max_size=60)


def test_a_quotation_is_continued() -> None:
    """Behind three tokens that were said before comes what came then."""
    lookup = Lookup((1, 2, 3, 4, 5, 6, 9, 1, 2))
    assert lookup.expected(4) == ()
    lookup.add(3)
    assert lookup.expected(4) == (4, 5, 6, 9)
    assert lookup.run == 0
    lookup.add(4)
    lookup.add(5)
    assert (lookup.run, lookup.expected(2)) == (2, (6, 9))


def test_the_latest_place_is_taken_and_left_when_it_is_wrong() -> None:
    """What was said last is the most alike; what comes otherwise begins the search anew."""
    lookup = Lookup((1, 2, 3, 4, 0, 1, 2, 3, 5, 0, 1, 2, 3))
    assert lookup.expected(1) == (5,)
    lookup.add(4)
    assert lookup.run == 0
    assert lookup.expected(2) == (0, 1)


@given(TEXTS)
def test_what_is_expected_stands_in_the_text(text: list[int]) -> None:
    """It is a part of the text that follows the same three tokens as there are at its end."""
    lookup = Lookup(text)
    expected = list(lookup.expected(5))
    if expected:
        at = [place for place in range(3, len(text)) if text[place - 3 : place] == text[-3:]]
        assert expected in [text[place : place + 5] for place in at]
    else:
        assert all(text[place - 3 : place] != text[-3:] for place in range(3, len(text)))


@given(TEXTS, TEXTS)
def test_it_grows_as_if_it_had_been_there(head: list[int], tail: list[int]) -> None:
    """Token by token or at once is the same."""
    grown = Lookup(head)
    for token in tail:
        grown.add(token)
    whole = Lookup([*head, *tail])
    assert (grown.run, grown.expected(9), len(grown)) == (whole.run, whole.expected(9), len(whole))
