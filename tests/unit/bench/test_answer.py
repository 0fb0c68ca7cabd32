"""Reading an answer's bytes."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.bench.answer import Answer, answer_of, hear
from allod.bench.exchange import Reply
from allod.bench.scenarios.agent import cached_share
from allod.bench.scenarios.streams import decoding, end_to_end


def event(body: object) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


STREAM = b"".join(
    (
        b": keepalive\n\n",
        event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}),
        event({"choices": [{"delta": {"reasoning_content": "hm"}}]}),
        event({"choices": [{"delta": {"content": "Grüße, "}}], "usage": None}),
        event({"choices": [{"delta": {"content": "world"}}]}),
        event({"choices": [{"delta": {"tool_calls": None, "content": None}, "finish_reason": "length"}]}),
        event(
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 9,
                    "completion_tokens": 6,
                    "prompt_tokens_details": {"cached_tokens": 4},
                },
            }
        ),
        b"data: [DONE]\n\n",
    )
)


@given(st.sets(st.integers(1, len(STREAM) - 1)))
def test_any_cut_says_the_same(cuts: set[int]) -> None:
    """However a stream is cut into pieces, text, counts and deltas are the same; only times move."""
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [(float(end), STREAM[begin:end]) for begin, end in pairwise(places)]
    heard = hear(pieces)
    assert heard.text == "Grüße, world"
    assert len(heard.arrivals) == 3
    assert heard.arrivals == sorted(heard.arrivals)
    assert heard.is_finished
    assert not heard.failure
    answer = answer_of(Reply(sent=0.0, status=200, pieces=pieces), heard, "m", 0.0)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (9, 6, 4)
    assert answer.tokens_per_delta == 2


@pytest.mark.parametrize(
    ("reply", "stream", "failure"),
    [
        (Reply(status=200), STREAM, ""),
        (Reply(status=503), b"{}", "http 503"),
        (Reply(status=200), event({"error": {"message": "gone"}}), "error event"),
        (Reply(status=200), b"data: {nonsense\n\n", "malformed"),
        (Reply(status=200), event({"choices": [{"delta": {"content": "a"}}]}), "unfinished"),
        (Reply(status=200, failure="broken off"), b"", "broken off"),
        (Reply(failure="no connection"), b"", "no connection"),
    ],
)
def test_every_end_has_its_kind(reply: Reply, stream: bytes, failure: str) -> None:
    """An answer is whole only when its end was announced; other ends are told apart, in its words."""
    reply.pieces = [(1.0, stream)]
    answer = answer_of(reply, hear(reply.pieces), "m", 0.0)
    assert answer.failure == failure
    assert answer.said == {
        "http 503": "{}",
        "error event": '{"message": "gone"}',
        "malformed": "{nonsense",
    }.get(failure, "")


def spoken(arrivals: tuple[float, ...], tokens: int | None = None, **rest: int) -> Answer:
    return Answer(
        model="m",
        failure="",
        said="",
        status=200,
        sent_seconds=0.0,
        connect_seconds=0.0,
        ended_seconds=9.0,
        arrivals_seconds=arrivals,
        prompt_tokens=rest.get("prompt_tokens"),
        completion_tokens=tokens,
        cached_tokens=rest.get("cached_tokens"),
    )


def test_rates_are_in_tokens_and_not_in_deltas() -> None:
    """Four deltas of two tokens, one a second after the first at 2 s: 2 tokens/s, and 8 tokens in 5 s."""
    answer = spoken((2.0, 3.0, 4.0, 5.0), tokens=8)
    assert answer.first_seconds == 2.0
    assert answer.decode_tokens_per_second == pytest.approx(2.0)
    assert answer.end_to_end_tokens_per_second == pytest.approx(1.6)
    assert spoken((2.0, 3.0, 4.0, 5.0)).tokens == 4


def test_a_single_delta_has_no_rate() -> None:
    """One arrival is no interval."""
    assert spoken((2.0,), tokens=8).decode_tokens_per_second is None
    assert spoken(()).first_seconds is None
    assert spoken(()).end_to_end_tokens_per_second is None


def test_streams_decode_together_only_while_all_do() -> None:
    """The window runs from the last first delta to the first last one, and must hold some of every stream."""
    early = spoken(tuple(float(second) for second in range(11)))
    late = spoken(tuple(4.0 + second for second in range(11)))
    assert decoding([early, late]) == pytest.approx(2.0)
    assert end_to_end([early, late]) == pytest.approx(22 / 14)
    apart = spoken(tuple(9.5 + second for second in range(11)))
    assert decoding([early, apart]) is None


def test_the_cached_share_is_of_those_who_tell() -> None:
    """Turns without a count are left out; without any there is no share."""
    told = spoken((1.0,), prompt_tokens=100, cached_tokens=75)
    silent = spoken((1.0,), prompt_tokens=100)
    assert cached_share([told, silent]) == 0.75
    assert cached_share([silent]) is None
