"""Pieces of looking at pictures: as many as fit into a step beside the rows that decode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.engine.pacing import ALONE_SECONDS, STALL_SHARE, PiecePacer, PrefillPacer

STALL = 0.25
PIECES = 60


def pacers(decode_seconds: float = 0.0) -> tuple[PrefillPacer, PiecePacer]:
    steps = PrefillPacer(2048, STALL)
    if decode_seconds:
        steps.observe(decodes=True, chunk_tokens=0, seconds=decode_seconds)
    return steps, PiecePacer(steps)


def look(
    pacer: PiecePacer, size: int, piece_seconds: float, decode_seconds: float
) -> list[tuple[int, float]]:
    """Look at one picture; how many pieces each step did, and what it took."""
    steps: list[tuple[int, float]] = []
    left = PIECES
    while left:
        pieces = min(left, pacer.pieces(size, decodes=decode_seconds > 0))
        seconds = decode_seconds + pieces * piece_seconds
        pacer.observe(size, pieces, seconds, decodes=decode_seconds > 0)
        steps.append((pieces, seconds))
        left -= pieces
    return steps


@given(
    decode_seconds=st.floats(0.001, 0.1),
    nanoseconds_per_byte=st.floats(0.01, 100.0),
    sizes=st.lists(st.integers(1000, 2_000_000), min_size=1, max_size=6),
)
def test_steps_stay_within_the_allowed_stall(
    decode_seconds: float, nanoseconds_per_byte: float, sizes: list[int]
):
    """Where a piece costs the same per byte each time, no step takes longer, unless one piece alone does."""
    _, pacer = pacers(decode_seconds)
    largest = 0
    for size in sizes:
        piece_seconds = size * nanoseconds_per_byte * 1e-9
        steps = look(pacer, size, piece_seconds, decode_seconds)
        assert size <= largest or steps[0][0] == 1, "a larger picture starts with one piece"
        largest = max(largest, size)
        for pieces, seconds in steps:
            assert pieces == 1 or seconds <= STALL * STALL_SHARE + 1e-9


@given(size=st.integers(1, 10**9), decodes=st.booleans())
def test_the_first_piece_comes_alone(size: int, decodes: bool):
    """Nothing is known, so little is risked."""
    assert pacers()[1].pieces(size, decodes=decodes) == 1


def test_beside_decoding_rows_the_sum_meets_the_target():
    """(0.8 * 250 ms - 40 ms) / 20 ms = 8 pieces; alone it is a second's worth."""
    _, pacer = pacers(0.040)
    pacer.observe(1000, 1, 0.020, decodes=False)
    assert pacer.pieces(1000, decodes=True) == 8
    assert pacer.pieces(1000, decodes=False) == ALONE_SECONDS / 0.020


def test_a_smaller_picture_has_smaller_pieces():
    """Half the bytes, twice the pieces."""
    _, pacer = pacers()
    pacer.observe(1000, 1, 0.020, decodes=False)
    assert pacer.pieces(500, decodes=False) == 100


def test_slower_counts_at_once_and_faster_by_half():
    """One slow piece is believed; recovery takes several."""
    _, pacer = pacers()
    pacer.observe(1000, 1, 0.010, decodes=False)
    pacer.observe(1000, 10, 0.200, decodes=False)
    assert pacer.pieces(1000, decodes=False) == 50
    pacer.observe(1000, 50, 0.500, decodes=False)
    assert pacer.pieces(1000, decodes=False) == 66


def test_a_picture_always_gets_on():
    """Even when decoding alone breaks the bound."""
    _, pacer = pacers(0.5)
    pacer.observe(1000, 1, 0.6, decodes=True)
    assert pacer.pieces(1000, decodes=True) == 1


@pytest.mark.parametrize(("size", "pieces"), [(0, 1), (1000, 0)])
def test_what_was_no_work_teaches_nothing(size: int, pieces: int):
    """A picture of no bytes has no price per byte, and is looked at piece by piece."""
    _, pacer = pacers()
    pacer.observe(1000, 1, 0.010, decodes=False)
    pacer.observe(size, pieces, 9.0, decodes=False)
    assert pacer.pieces(1000, decodes=False) == 100
    assert pacer.pieces(0, decodes=False) == 1
