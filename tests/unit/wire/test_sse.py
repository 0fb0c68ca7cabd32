from allod.wire.sse import DONE, SseParser, comment, frame


def test_frames_and_comments_are_what_the_standard_says() -> None:
    """One event each; a comment cannot break out of its line."""
    assert frame(b"{}") == b"data: {}\n\n"
    assert frame(b"a\nb") == b"data: a\ndata: b\n\n"
    assert comment("still\nhere") == b": still here\n\n"
    assert frame(b"[DONE]") == DONE


def test_the_parser_takes_what_servers_send() -> None:
    """All three line ends, a byte order mark, comments, other fields, no space after the colon."""
    stream = b"\xef\xbb\xbfdata:a\r\n\r\n: ping\n\nevent: x\nid: 1\ndata: b\ndata\ndata:  c\r\rdata: d\n"
    parser = SseParser()
    assert parser.feed(stream) == [b"a", b"b\n\n c"]
    assert parser.flush() == 1


def test_an_event_without_its_blank_line_is_not_delivered() -> None:
    """A stream that breaks off must not look complete; flush counts what is missing."""
    parser = SseParser()
    assert parser.feed(b'data: {"a"') == []
    assert parser.flush() == 10
    assert SseParser().flush() == 0


def test_a_line_end_cut_in_two_is_one() -> None:
    r"""`\r` at the end of one read and `\n` at the start of the next end one line."""
    parser = SseParser()
    assert [parser.feed(piece) for piece in (b"data: a\r", b"", b"\n", b"\n", b"\ndata: b\r\r", b"\n")] == [
        [], [], [], [b"a"], [b"b"], [],
    ]  # fmt: skip
