"""Lines of a batch: what is read, what is refused and where, what is written."""

import json

import pytest

from allod.wire.batch_lines import answered, outcome_of, read_lines, unanswered
from allod.wire.batches import BatchUsage, CachedTokens, ReasoningTokens

CHAT = "/v1/chat/completions"


def request(**changes: object) -> dict[str, object]:
    plain = {"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "m"}}
    return {name: value for name, value in {**plain, **changes}.items() if value is not ...}


def encoded(*requests: object) -> bytes:
    return "\n".join(json.dumps(each) for each in requests).encode()


def test_lines_keep_their_numbers_and_their_bodies():
    """Empty lines count but are no requests; a body reaches its endpoint as it was written."""
    body = '{"model": "m",  "x": "\u00fc\\u00fc", "n": 1.50}'
    text = f'\n{{"custom_id":"a","method":"POST","url":"{CHAT}","body":{body}}}\r\n\n \n'.encode()
    read = read_lines(text + encoded(request(custom_id="b")), CHAT, 10)
    assert [(line.number, line.custom_id) for line in read.lines] == [(2, "a"), (5, "b")]
    assert read.lines[0].body.decode() == body
    assert (read.model, read.errors) == ("m", ())


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"\xff", "invalid_json_line", None),
        (b'{"body":' + b"[" * 5000, "invalid_json_line", None),
        (b"[" * 5000, "invalid_request", None),
        (b"[]", "invalid_request", None),
        (b"7", "invalid_request", None),
        (encoded(request(custom_id=...)), "missing_required_parameter", "custom_id"),
        (encoded(request(custom_id=None)), "missing_required_parameter", "custom_id"),
        (encoded(request(custom_id=7)), "invalid_type", "custom_id"),
        (encoded(request(custom_id="x" * 513)), "invalid_custom_id", "custom_id"),
        (encoded(request(method="GET")), "invalid_method", "method"),
        (encoded(request(method=...)), "missing_required_parameter", "method"),
        (encoded(request(url="/v1/embeddings")), "invalid_url", "url"),
        (encoded(request(url=...)), "missing_required_parameter", "url"),
        (encoded(request(body=...)), "missing_required_parameter", "body"),
        (encoded(request(body=None)), "missing_required_parameter", "body"),
        (encoded(request(body=[1])), "invalid_request", "body"),
        (encoded(request(body={"stream": True})), "invalid_request", "body.stream"),
    ],
)
def test_a_fault_has_its_line_its_code_and_its_field(line: bytes, code: str, param: str | None):
    """Whatever is wrong, it is one error about line 2, and it can be encoded."""
    (error,) = read_lines(encoded(request()) + b"\n" + line, CHAT, 10).errors
    assert (error.code, error.line, error.param) == (code, 2, param)
    assert "ine 2" in error.message


def test_duplicates_name_both_lines():
    """The second one is the fault."""
    (error,) = read_lines(encoded(request(), request()), CHAT, 10).errors
    assert (error.code, error.line) == ("duplicate_custom_id", 2)
    assert "line 1" in error.message


def test_too_many_and_none_are_faults_of_the_file():
    """They have no line."""
    three = encoded(*(request(custom_id=name) for name in "abc"))
    assert read_lines(three, CHAT, 3).errors == ()
    (error,) = read_lines(three, CHAT, 2).errors
    assert (error.code, error.line) == ("too_many_requests", None)
    (error,) = read_lines(b"\n \n", CHAT, 2).errors
    assert (error.code, error.line) == ("empty_file", None)


def test_a_file_of_garbage_has_a_bounded_number_of_errors():
    """Fifty say enough."""
    assert len(read_lines(b"{\n" * 10_000, CHAT, 50_000).errors) == 50


def test_an_answer_is_one_line_whatever_its_body_looks_like():
    """The exact shape OpenAI documents; line breaks of a body are not line breaks of the file."""
    line = answered("batch_req_1", "a", "req-1", 200, b'{\n "x": "\\n"\n}')
    assert b"\n" not in line
    assert json.loads(line) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "req-1", "body": {"x": "\n"}},
        "error": None,
    }
    assert json.loads(unanswered("batch_req_1", "a", "batch_expired", "late")) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": None,
        "error": {"code": "batch_expired", "message": "late"},
    }


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            '{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}',
            BatchUsage(5, total_tokens=8, output_tokens=3),
        ),
        (
            '{"input_tokens":5,"input_tokens_details":{"cached_tokens":4},"output_tokens":3,'
            '"output_tokens_details":{"reasoning_tokens":2},"total_tokens":8}',
            BatchUsage(5, CachedTokens(4), 3, ReasoningTokens(2), 8),
        ),
        ('{"prompt_tokens":5,"total_tokens":5}', BatchUsage(5, CachedTokens(), 0, ReasoningTokens(), 5)),
        ("null", BatchUsage()),
        ("[]", BatchUsage()),
    ],
)
def test_usage_is_read_from_every_endpoint(usage: str, expected: BatchUsage):
    """Chat and completions, Responses, embeddings, and what has none."""
    line = answered("i", "a", "r", 200, f'{{"usage":{usage}}}'.encode())
    assert (outcome_of(line).succeeded, outcome_of(line).usage) == (True, expected)


def test_errors_do_not_succeed_and_use_nothing():
    """Neither an error status nor no response at all."""
    for line in (answered("i", "a", "r", 404, b'{"error":{}}'), unanswered("i", "a", "c", "m")):
        assert not outcome_of(line).succeeded
        assert outcome_of(line).usage == BatchUsage()
