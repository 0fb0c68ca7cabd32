"""Laws of server-sent events."""

from hypothesis import given
from hypothesis import strategies as st

from allod.wire.sse import SseParser, comment, frame

streams = st.lists(
    st.sampled_from(
        [b"data", b":", b" ", b"\r", b"\n", b"\r\n", b"x", b"\xef\xbb\xbf", b"\xf0\x9f", b"id: 1"]
    )
).map(b"".join)
payloads = st.binary(max_size=20).filter(lambda data: b"\r" not in data)


def pieces(data: st.DataObject, stream: bytes) -> list[bytes]:
    at = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    return [stream[start:end] for start, end in zip([0, *at], [*at, len(stream)], strict=True)]


@given(data=st.data(), stream=streams)
def test_any_cut_gives_the_same_events(data: st.DataObject, stream: bytes) -> None:
    """Events and leftovers are a function of the bytes, not of how they were read."""
    whole, cut = SseParser(), SseParser()
    expected = whole.feed(stream)
    assert [event for piece in pieces(data, stream) for event in cut.feed(piece)] == expected
    assert cut.flush() == whole.flush()


@given(data=st.data(), events=st.lists(payloads))
def test_what_is_framed_is_parsed(data: st.DataObject, events: list[bytes]) -> None:
    """Framing and parsing are inverse, comments in between notwithstanding."""
    stream = b"".join(comment("ping") + frame(event) for event in events)
    parser = SseParser()
    assert [event for piece in pieces(data, stream) for event in parser.feed(piece)] == events
