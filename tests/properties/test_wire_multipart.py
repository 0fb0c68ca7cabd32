"""A form is the same form, however it is cut; and whatever comes, it is read or refused."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from allod.core.errors import InvalidRequest
from allod.wire.multipart import FormReader

TYPE = "multipart/form-data; boundary=cut"
CONTENT = st.binary(max_size=200) | st.sampled_from([b"\r\n--cut", b"--cut--", b"\r\n--cu", b"\r\n\r\n"])
FIELDS = st.lists(
    st.tuples(st.sampled_from(["file", "purpose", "x"]), st.none() | st.just("a.jsonl"), CONTENT), max_size=4
)


def form(fields: list[tuple[str, str | None, bytes]]) -> bytes:
    body = b""
    for name, filename, content in fields:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        body += b"--cut\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--cut--\r\n"


def read(pieces: list[bytes]) -> object:
    reader = FormReader(TYPE)
    try:
        for piece in pieces:
            reader.feed(piece)
        return {name: (part.filename, bytes(part.data)) for name, part in reader.flush().items()}
    except InvalidRequest as refusal:
        return type(refusal)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


@given(fields=FIELDS, places=st.lists(st.integers(0, 5000), max_size=8))
def test_any_cut_gives_the_same_form(fields: list[tuple[str, str | None, bytes]], places: list[int]) -> None:
    """Fields that do not hold the boundary come back as they went; all others are at least cut-proof."""
    body = form(fields)
    whole = read([body])
    assert read(cut(body, places)) == whole
    if fields and not any(b"--cu" in content for _, _, content in fields):
        assert whole == {name: (filename, content) for name, filename, content in fields}


@given(body=st.binary(max_size=300), places=st.lists(st.integers(0, 300), max_size=3))
def test_garbage_is_refused_however_it_is_cut(body: bytes, places: list[int]) -> None:
    """Nothing but an InvalidRequest ever comes of it."""
    assert read(cut(body, places)) is InvalidRequest
