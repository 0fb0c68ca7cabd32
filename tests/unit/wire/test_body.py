import pytest

from allod.core.errors import InvalidRequest
from allod.wire.body import parse_object


def test_an_object_is_parsed() -> None:
    """Plain JSON; the last of repeated keys counts."""
    assert parse_object('{"a": [1, "é\\u00e9"], "a": 2}'.encode()) == {"a": 2}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "line 1 column 1"),
        (b'{"a": 1,\n  "b" 2}', "line 2 column 7"),
        (b'{"a": "\xff"}', r"byte 7 \(0xff\)"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": 1} {}', "line 1 column 10"),
    ],
)
def test_what_is_not_an_object_is_refused_with_its_place(body: bytes, says: str) -> None:
    """A 400 that a person can act on, never a traceback."""
    with pytest.raises(InvalidRequest, match=says):
        parse_object(body)
