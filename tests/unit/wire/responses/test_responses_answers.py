"""Streamed and whole responses: golden transcripts, OpenAI's own types, the transcribed schema."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from allod.core.errors import Busy, Cancelled, InternalFailure, ModelUnavailable
from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Event,
    Failed,
    Finished,
    Progress,
    ReasoningDelta,
    ScoredToken,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.usage import Timings, Usage
from allod.wire.dialect import Decoded, Envelope, Header
from allod.wire.responses.answers import ANSWERS
from allod.wire.responses.request import decode_response
from allod.wire.sse import SseParser

GOLDEN = Path(__file__).parents[3] / "golden" / "responses"
HEADER = Header("1f", 1_770_000_000, "qwen3-4b", 1)
TIMINGS = Timings(0.0, 0.1, 2.5)
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
SCHEMA = Draft202012Validator(
    {"$ref": "#/components/schemas/ResponseObject", "components": {"schemas": dict(ANSWERS)}}
)


def scored(text: str, logprob: float) -> ScoredToken:
    chosen = TokenLogprob(text, text.encode(), logprob)
    return ScoredToken(chosen, (chosen, TokenLogprob(" x", b" x", float("-inf"))))


def decoded(**fields: object) -> Decoded:
    body = {"model": "qwen3-4b", "input": "hi", "stream": True, **fields}
    envelope = Envelope(RequestId("req-1f"), TenantId("local"), lambda: ModelName("qwen3-4b"))
    return decode_response(json.dumps(body).encode(), envelope)


TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}
END = Finished(Usage(5, 9, 3, 2), TIMINGS)
CALL: Sequence[Event] = (
    ToolCallStarted(0, 0, "call_a", "look"),
    ToolCallDelta(0, 0, '{"at":'),
    ToolCallDelta(0, 0, '"sky"}'),
    ToolCallFinished(0, 0),
)
SCRIPTS: dict[str, tuple[dict[str, object], Sequence[Event]]] = {
    "text": (
        {"instructions": "be brief", "metadata": {"a": "b"}, "temperature": 0.5, "user": "me"},
        (
            Accepted(5),
            Progress(5, 5),
            TextDelta(0, "Hello"),
            TextDelta(0, ' "wörld"\n\u2028😀'),
            TextDelta(0, ""),
            ChoiceFinished(0, "stop"),
            END,
        ),
    ),
    "reasoning_text": (
        {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]},
        (
            Accepted(5),
            ReasoningDelta(0, "Let me "),
            ReasoningDelta(0, "think."),
            TextDelta(0, "Done"),
            ChoiceFinished(0, "stop"),
            END,
        ),
    ),
    "two_calls": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "look"}},
        (
            Accepted(5),
            *CALL,
            ToolCallStarted(0, 1, "call_b", "look"),
            ToolCallDelta(0, 1, "{}"),
            ToolCallFinished(0, 1),
            ChoiceFinished(0, "tool_calls"),
            END,
        ),
    ),
    "text_call": (
        {"tools": [TOOL, {"type": "web_search"}]},
        (Accepted(5), TextDelta(0, "I look."), *CALL, ChoiceFinished(0, "tool_calls"), END),
    ),
    "incomplete": (
        {"max_output_tokens": 4},
        (Accepted(5), TextDelta(0, "Hello wor"), ChoiceFinished(0, "length"), END),
    ),
    "incomplete_call": (
        {"tools": [TOOL], "max_output_tokens": 4},
        (Accepted(5), *CALL[:2], ChoiceFinished(0, "length"), END),
    ),
    "failed": (
        {},
        (
            Accepted(5),
            TextDelta(0, "Hel"),
            Failed(ModelUnavailable("the model's worker died; it is starting again")),
        ),
    ),
    "logprobs": (
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        (
            Accepted(5),
            TextDelta(0, "Hi", (scored("Hi", -0.25),)),
            TextDelta(0, " you", (scored(" yo", -1.5), scored("u", -0.0))),
            ChoiceFinished(0, "stop"),
            END,
        ),
    ),
    "nothing": ({}, (Accepted(5), ChoiceFinished(0, "stop"), END)),
}


def stream(name: str) -> bytes:
    fields, events = SCRIPTS[name]
    encoder = decoded(**fields).encoder(HEADER)
    return b"".join(map(encoder.feed, events))


def events_of(transcript: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in SseParser().feed(transcript)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_streams_are_byte_for_byte_the_golden_transcripts(name: str) -> None:
    """The bytes on the wire change only on purpose."""
    assert stream(name) == (GOLDEN / f"{name}.txt").read_bytes()


def test_no_golden_transcript_is_forgotten() -> None:
    """Every file is compared with something."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_events_are_what_the_sdk_declares_and_count_up(name: str) -> None:
    """Every event is one of the SDK's, named on its event line, numbered without a gap, last one terminal."""
    raw = events_of(stream(name))
    for event in raw:
        EVENT.validate_json(json.dumps(event))
    assert [event["sequence_number"] for event in raw] == list(range(len(raw)))
    lines = [line for line in stream(name).decode().split("\n") if line.startswith("event: ")]
    assert lines == [f"event: {event['type']}" for event in raw]
    assert [event["type"] for event in raw[:2]] == ["response.created", "response.in_progress"]
    terminal = {"response.completed", "response.incomplete", "response.failed"}
    assert [event["type"] in terminal for event in raw] == [False] * (len(raw) - 1) + [True]
    assert b"\xe2\x80\xa8" not in stream(name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_response_object_keeps_the_schema(name: str) -> None:
    """Those at the start, that at the end: the SDK's type, and all keys of the specification."""
    for event in events_of(stream(name)):
        if "response" in event:
            Response.model_validate_json(json.dumps(event["response"]))
            SCHEMA.validate(event["response"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stream_can_be_put_together_again(name: str) -> None:
    """Deltas add up to the done events, and done items are the output of the last response."""
    raw = events_of(stream(name))
    pieces: dict[str, str] = {}
    for event in raw:
        if event["type"].endswith(".delta"):
            pieces[event["item_id"]] = pieces.get(event["item_id"], "") + event["delta"]
        if event["type"] in ("response.output_text.done", "response.reasoning_text.done"):
            assert event["text"] == pieces.get(event["item_id"], "")
        if event["type"] == "response.function_call_arguments.done":
            assert event["arguments"] == pieces[event["item_id"]]
    items = [event["item"] for event in raw if event["type"] == "response.output_item.done"]
    added = [event["item"]["id"] for event in raw if event["type"] == "response.output_item.added"]
    output = raw[-1]["response"]["output"]
    assert [item["id"] for item in output] == added
    assert output[: len(items)] == items
    assert output
    if name != "failed":
        assert len(output) == len(items)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "failed"])
def test_whole_and_streamed_responses_are_the_same(name: str) -> None:
    """The stream's last response is the whole answer."""
    fields, events = SCRIPTS[name]
    whole = decoded(**fields).collector(HEADER)
    for event in events:
        whole.feed(event)
    assert json.loads(whole.body()) == events_of(stream(name))[-1]["response"]


def test_a_failed_response_raises_when_it_is_whole() -> None:
    """A failure has its HTTP status as long as nothing went out."""
    whole = decoded().collector(HEADER)
    for event in SCRIPTS["failed"][1]:
        whole.feed(event)
    with pytest.raises(ModelUnavailable):
        whole.body()


def test_a_response_without_an_end_raises() -> None:
    """Silence is no answer."""
    with pytest.raises(InternalFailure):
        decoded().collector(HEADER).body()


def test_a_cut_call_is_never_said_to_be_done() -> None:
    """Its item is incomplete, and no event says that its arguments are all there."""
    raw = events_of(stream("incomplete_call"))
    assert "response.function_call_arguments.done" not in [event["type"] for event in raw]
    assert raw[-1]["response"]["output"][0]["status"] == "incomplete"
    assert raw[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_call_that_another_item_follows_without_an_end_is_incomplete() -> None:
    """A malformed call is not completed by what comes after it."""
    encoder = decoded(tools=[TOOL]).encoder(HEADER)
    told = (Accepted(5), *CALL[:2], TextDelta(0, "oops"), ChoiceFinished(0, "stop"), END)
    last = events_of(b"".join(map(encoder.feed, told)))[-1]
    assert [item["status"] for item in last["response"]["output"]] == ["incomplete", "completed"]


def test_a_ping_is_an_event_with_a_number_of_its_own() -> None:
    """Timers that comments do not reset are reset, and the count stays without a gap."""
    encoder = decoded().encoder(HEADER)
    told = b"".join([encoder.feed(Accepted(5)), encoder.ping, encoder.feed(TextDelta(0, "a")), encoder.ping])
    raw = events_of(told)
    assert [event["sequence_number"] for event in raw] == list(range(7))
    assert [raw[2]["type"], raw[6]["type"]] == ["response.in_progress"] * 2
    for event in raw:
        EVENT.validate_json(json.dumps(event))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Busy("full"), "failed", "rate_limit_exceeded"),
        (ModelUnavailable("gone"), "failed", "server_error"),
        (Cancelled("cancelled"), "cancelled", None),
    ],
)
def test_failures_have_codes_that_the_sdk_knows(error: Any, status: str, code: str | None) -> None:
    """The codes are OpenAI's; what its owner cancelled has none."""
    encoder = decoded().encoder(HEADER)
    last = events_of(encoder.feed(Accepted(1)) + encoder.feed(Failed(error)))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == status
    assert (last["response"]["error"] or {}).get("code") == code
    Response.model_validate_json(json.dumps(last["response"]))
