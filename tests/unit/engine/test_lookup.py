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


@given(TEXTS)
def test_it_is_what_followed_the_latest_place(text: list[int]) -> None:
    """Of several places where the same was said, the latest is taken."""
    latest = [place for place in range(3, len(text)) if text[place - 3 : place] == text[-3:]][-1:]
    assert Lookup(text).expected(5) == tuple(text[latest[0] : latest[0] + 5] if latest else ())


@given(TEXTS, TEXTS)
def test_it_goes_on_where_it_was(head: list[int], tail: list[int]) -> None:
    """While tokens come as they were expected, the place moves on with them, and they are counted."""
    lookup = Lookup(head)
    for token in tail:
        run, expected = lookup.run, lookup.expected(2)
        lookup.add(token)
        if expected[:1] == (token,):
            assert lookup.run == run + 1
            assert lookup.expected(1) == expected[1:] or len(expected) == 1
        else:
            assert lookup.run == 0
    assert len(lookup) == len(head) + len(tail)


def test_bytes_of_two_tokens_are_no_token() -> None:
    """A text is searched as bytes: what looks like the same tokens, but begins within one, is passed over."""
    shifted = (0x100, 0x200, 0x300, 0)
    assert Lookup((*shifted, 5, 1, 2, 3)).expected(1) == ()
    assert Lookup((1, 2, 3, 9, *shifted, 5, 1, 2, 3)).expected(1) == (9,)
