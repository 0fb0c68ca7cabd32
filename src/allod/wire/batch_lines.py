"""The lines of a batch: requests in, answers and errors out. One JSON object a line."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from allod.wire.batches import BatchError, BatchUsage, CachedTokens, ReasoningTokens

_MOST_ERRORS = 50
_MOST_ID_CHARS = 512
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch.

    Attributes:
        number: of the line in the input file, from 1.
        custom_id: the client's name for it.
        body: what its endpoint is sent.
    """

    number: int
    custom_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Lines:
    """An input file that was read.

    Attributes:
        model: what all of them name, where that is one.
        errors: what is wrong; when there is anything, none of the lines may be run.
    """

    lines: tuple[Line, ...]
    model: str | None
    errors: tuple[BatchError, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a line; `usage` is zero where the answer has none."""

    succeeded: bool
    usage: BatchUsage


class _Fault(Exception):
    """A line that cannot be run."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class _Request(msgspec.Struct, frozen=True):
    custom_id: object = None
    method: object = None
    url: object = None
    body: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct, frozen=True):
    model: object = None
    stream: object = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: CachedTokens | None = None
    completion_tokens_details: ReasoningTokens | None = None
    input_tokens_details: CachedTokens | None = None
    output_tokens_details: ReasoningTokens | None = None


class _Answer(msgspec.Struct, frozen=True):
    usage: _Usage | None = None


class _Response(msgspec.Struct, frozen=True):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str


class _Output(msgspec.Struct, frozen=True):
    id: str
    custom_id: str
    response: _Response | None
    error: _Error | None


_requests = msgspec.json.Decoder(_Request)
_bodies = msgspec.json.Decoder(_Body)
_outputs = msgspec.json.Decoder(_Output)
_answers = msgspec.json.Decoder(_Answer)


def read_lines(content: bytes, endpoint: str, max_lines: int) -> Lines:
    """The requests of an input file, or what is wrong with it. Empty lines are passed over."""
    lines: list[Line] = []
    errors: list[BatchError] = []
    models: set[str | None] = set()
    places: dict[str, int] = {}
    for number, text in _numbered(content):
        if len(lines) + len(errors) >= max_lines:
            errors.append(
                BatchError("too_many_requests", f"The file has more than {max_lines} requests; split it.")
            )
            break
        try:
            line, model = _line(number, text, endpoint)
            if (first := places.setdefault(line.custom_id, number)) != number:
                raise _Fault(
                    "duplicate_custom_id",
                    f"The custom_id {_shown(line.custom_id)} of line {number} is that of line {first}, too.",
                    "custom_id",
                )
        except _Fault as fault:
            errors.append(BatchError(fault.code, str(fault), fault.param, number))
            if len(errors) >= _MOST_ERRORS:
                break
            continue
        lines.append(line)
        models.add(model)
    if not lines and not errors:
        errors.append(BatchError("empty_file", "The file has no requests; write one JSON object a line."))
    return Lines(tuple(lines), models.pop() if len(models) == 1 else None, tuple(errors))


def answered(identifier: str, custom_id: str, request: str, status: int, body: bytes) -> bytes:
    """A line of output for a request that was answered, with whatever status."""
    flat = msgspec.json.format(body, indent=-1) if b"\n" in body else body
    response = _Response(status, request, msgspec.Raw(flat))
    return msgspec.json.encode(_Output(identifier, custom_id, response, None))


def unanswered(identifier: str, custom_id: str, code: str, message: str) -> bytes:
    """A line of output for a request that was never run."""
    return msgspec.json.encode(_Output(identifier, custom_id, None, _Error(code, message)))


def outcome_of(line: bytes) -> Outcome:
    """What a line of output says came of its request."""
    response = _outputs.decode(line).response
    if response is None or not 200 <= response.status_code < 300:
        return Outcome(succeeded=False, usage=BatchUsage())
    try:
        usage = _answers.decode(response.body).usage
    except msgspec.ValidationError:
        usage = None
    return Outcome(succeeded=True, usage=BatchUsage() if usage is None else _together(usage))


def _numbered(content: bytes) -> Iterator[tuple[int, bytes]]:
    start, number = 0, 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        number += 1
        if text := content[start:end].strip():
            yield number, text
        start = end + 1


def _line(number: int, text: bytes, endpoint: str) -> tuple[Line, str | None]:
    try:
        request = _requests.decode(text)
    except msgspec.ValidationError as error:
        raise _Fault("invalid_request", f"Line {number} is not a JSON object: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Fault("invalid_json_line", f"Line {number} is not JSON: {error}.") from error
    custom_id = _text(request.custom_id, "custom_id", number)
    if len(custom_id) > _MOST_ID_CHARS:
        raise _Fault(
            "invalid_custom_id",
            f"The custom_id of line {number} has more than {_MOST_ID_CHARS} characters.",
            "custom_id",
        )
    if (method := _text(request.method, "method", number)) != "POST":
        raise _Fault(
            "invalid_method", f"Line {number} has the method {_shown(method)}; write POST.", "method"
        )
    if (url := _text(request.url, "url", number)) != endpoint:
        raise _Fault(
            "invalid_url", f"Line {number} has the url {_shown(url)}, but the batch is for {endpoint}.", "url"
        )
    body = bytes(request.body)
    if body in (b"", b"null"):
        raise _Fault("missing_required_parameter", f"Line {number} has no body.", "body")
    return Line(number, custom_id, body), _model(body, number)


def _model(body: bytes, number: int) -> str | None:
    try:
        asked = _bodies.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Fault("invalid_request", f"The body of line {number} is not a JSON object.", "body") from error
    if asked.stream:
        raise _Fault(
            "invalid_request", f"Line {number} asks for a stream; a batch answers whole.", "body.stream"
        )
    return asked.model if isinstance(asked.model, str) else None


def _text(value: object, name: str, number: int) -> str:
    if value is None:
        raise _Fault("missing_required_parameter", f"Line {number} has no {name}.", name)
    if not isinstance(value, str):
        raise _Fault("invalid_type", f"The {name} of line {number} is not a string.", name)
    return value


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")


def _together(usage: _Usage) -> BatchUsage:
    """Chat and completions say prompt and completion, the Responses API says input and output."""
    cached = usage.prompt_tokens_details or usage.input_tokens_details or CachedTokens()
    reasoning = usage.completion_tokens_details or usage.output_tokens_details or ReasoningTokens()
    return BatchUsage(
        usage.prompt_tokens + usage.input_tokens,
        cached,
        usage.completion_tokens + usage.output_tokens,
        reasoning,
        usage.total_tokens,
    )
