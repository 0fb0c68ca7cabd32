"""Data URIs and base64, in the ways clients write them."""

import base64
import json

import pytest

from allod.core.errors import InvalidRequest
from allod.wire.data_uri import MAX_ESCAPED, base64_bytes, parse

FILE = bytes(range(256)) * 3 + b"\xfb\xef\xff"
PLAIN = base64.b64encode(FILE).decode()


def refusal(uri: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(uri, "here")
    assert caught.value.param == "here"
    assert len(caught.value.message) < 200
    return caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN + "\n",
        base64.encodebytes(FILE).decode(),
        base64.encodebytes(FILE).decode().replace("\n", "\r\n"),
        base64.urlsafe_b64encode(FILE).decode(),
        f"  {PLAIN[:9]}\t{PLAIN[9:]}",
    ],
)
def test_base64_is_read_however_it_is_written(text: str) -> None:
    """In lines, with spaces, in both alphabets."""
    assert base64_bytes(text, "here") == FILE


@pytest.mark.parametrize(("text", "data"), [("AQ", b"\1"), ("AQ=", b"\1"), ("AQI", b"\1\2"), ("AQ==", b"\1")])
def test_padding_may_be_missing(text: str, data: bytes) -> None:
    """All of it, or half."""
    assert base64_bytes(text, "here") == data


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{PLAIN}",
        f"DATA:image/png;charset=utf-8;BASE64,{PLAIN}",
        f"data:;base64,{PLAIN}",
        f"data:image/png; base64,{PLAIN}",
        "data:image/png;base64," + PLAIN.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
        "data:image/png;base64," + base64.encodebytes(FILE).decode().replace("\n", "%0A"),
        "data:image/png," + "".join(f"%{byte:02x}" for byte in FILE),
    ],
)
def test_data_uris(uri: str) -> None:
    """Any media type or none, scheme and base64 in any case, escapes, and data that are only escaped."""
    assert parse(uri, "here") == FILE


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("data:image/png;base64", "is not a data URI; send one of the form data:image/png;base64,..."),
        ("image/png;base64,AA==", "is not a data URI"),
        ("data:image/png;base64,", "holds no data"),
        ("data:,", "holds no data"),
        ("data:image/png;base64,AA!A", "is not base64: character 2 is !; send the file's bytes as base64"),
        ("data:image/png;base64,data:image/png;base64,AA", "is not base64: character 4 is :;"),
        ("data:image/png;base64,ÄA==", "is not base64: character 0 is \\xc4;"),
        ("data:image/png;base64,%zz", "is not base64: character 0 is %;"),
        ("data:image/png;base64,AAAAA", "is not base64: it ends within a byte"),
        ("data:image/png;base64,AA==AA==", "goes on after its padding; send all of the file"),
        ("data:image/png;base64,=AAA", "is not base64"),
        ("data:image/png,ä", "is a data URI with characters beyond ASCII"),
        ("data:image/png," + "A" * (MAX_ESCAPED + 1), "without ;base64 and longer than 1048576 characters"),
        ("data:" + "x" * 3_000_000, "is not a data URI"),
        ("data:image/png;base64," + "A" * 3_000_001, "is not base64"),
        ("data:image/png;base64," + "!" * 3_000_000, "is not base64: character 0"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_no_data_uri_is_refused(uri: str, words: str) -> None:
    """With the field, the problem and the way out, in few words however long it is."""
    message = refusal(uri)
    assert message.startswith("here: ")
    assert words in message
    json.dumps(message)
