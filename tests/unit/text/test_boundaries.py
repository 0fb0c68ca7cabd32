"""Where messages begin, by special tokens alone."""

import pytest

from allod.text.boundaries import message_starts

OPEN, CLOSE, HEAD = 1, 2, 3


@pytest.mark.parametrize(
    ("tokens", "starts"),
    [
        ((), ()),
        ((50, 51), ()),
        ((OPEN, 50, CLOSE, OPEN, 51, CLOSE, OPEN, 52), (3, 6)),
        ((OPEN, 50, CLOSE, OPEN, 51, CLOSE, OPEN, 52, CLOSE, OPEN, 53, CLOSE, OPEN), (3, 9, 12)),
        ((9, OPEN, 50, HEAD, 51, CLOSE, OPEN, 52, HEAD, 53, CLOSE, OPEN, 54, HEAD), (6, 11)),
    ],
)
def test_messages_begin_at_the_token_that_opens_them(tokens: tuple[int, ...], starts: tuple[int, ...]):
    """Behind the head, and before the last two messages; where no special token is, nowhere."""
    assert message_starts(tokens, {OPEN, CLOSE, HEAD, 9}) == starts
