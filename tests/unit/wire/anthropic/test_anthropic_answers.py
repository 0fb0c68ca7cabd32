"""Streamed and whole messages, against golden transcripts and Anthropic's own types."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.user_message_param import UserMessageParam
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from allod.core.errors import InternalFailure, ModelUnavailable
from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Event,
    Failed,
    Finished,
    Progress,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.core.ids import RequestId
from allod.core.usage import Timings, Usage
from allod.wire.anthropic.events import MessageEvents
from allod.wire.anthropic.whole import MessageWhole
from allod.wire.dialect import Header
from allod.wire.sse import SseParser

GOLDEN = Path(__file__).parents[3] / "golden" / "anthropic"
HEADER = Header("1", 1_770_000_000, "smollm2-135m", 1)
TIMINGS = Timings(0.0, 0.1, 0.2)
STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

TEXT: Sequence[Event] = (
    Accepted(5),
    Progress(5, 5),
    TextDelta(0, "Hello"),
    TextDelta(0, ' "wörld"\n\u2028😀'),
    TextDelta(0, ""),
    ChoiceFinished(0, "stop"),
    Finished(Usage(5, 4, 3), TIMINGS),
)
CALLS: Sequence[Event] = (
    Accepted(9),
    ReasoningDelta(0, "Two "),
    ReasoningDelta(0, "cities."),
    TextDelta(0, "I look."),
    ToolCallStarted(0, 0, "call_a", "weather"),
    ToolCallDelta(0, 0, '{"city": '),
    ToolCallDelta(0, 0, '"Bern"}'),
    ToolCallFinished(0, 0),
    ToolCallStarted(0, 1, "call_b", "now"),
    ToolCallDelta(0, 1, "{}"),
    ToolCallFinished(0, 1),
    ChoiceFinished(0, "tool_calls"),
    Finished(Usage(9, 20, 0, 4), TIMINGS),
)
CUT: Sequence[Event] = (
    Accepted(9),
    TextDelta(0, "I look."),
    ToolCallStarted(0, 0, "call_a", "weather"),
    ToolCallDelta(0, 0, '{"city": "B'),
    ChoiceFinished(0, "length"),
    Finished(Usage(9, 8), TIMINGS),
)
STOPPED: Sequence[Event] = (
    Accepted(5),
    TextDelta(0, "a"),
    ChoiceFinished(0, "stop", "END"),
    Finished(Usage(5, 2), TIMINGS),
)
EMPTY: Sequence[Event] = (Accepted(5), ChoiceFinished(0, "stop"), Finished(Usage(5, 1), TIMINGS))
BROKEN: Sequence[Event] = (
    Accepted(5),
    TextDelta(0, "Hel"),
    Failed(ModelUnavailable("the model's worker died; it is starting again")),
)
COMPLETE = {"text": TEXT, "calls": CALLS, "cut": CUT, "stopped": STOPPED, "empty": EMPTY}
STREAMS = COMPLETE | {"failed": BROKEN}


def transcript(events: Sequence[Event]) -> bytes:
    encoder = MessageEvents(HEADER, RequestId("req-1"))
    return b"".join(map(encoder.feed, events))


def frames(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [json.loads(data) for data in SseParser().feed(transcript(events))]


def whole(events: Sequence[Event]) -> dict[str, Any]:
    collector = MessageWhole(HEADER)
    for event in events:
        collector.feed(event)
    return json.loads(collector.body())


def accumulated(data: bytes) -> Message:
    """The message as Anthropic's own client puts it together from a stream."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = anthropic.Anthropic(api_key="none", base_url="http://localhost", http_client=http, max_retries=0)
    messages = [UserMessageParam(role="user", content="hi")]
    with client, client.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_byte_for_byte_the_golden_transcripts(name: str) -> None:
    """The bytes on the wire change only on purpose."""
    assert transcript(STREAMS[name]) == (GOLDEN / f"{name}.txt").read_bytes()


def test_no_golden_transcript_is_forgotten() -> None:
    """Every file is compared with something."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(STREAMS)


@pytest.mark.parametrize("name", COMPLETE)
def test_events_are_what_the_sdk_declares(name: str) -> None:
    """Each event but ping is strictly valid; start, ping, blocks, delta, stop come in this order."""
    raw = frames(COMPLETE[name])
    for frame in raw:
        if frame["type"] != "ping":
            STREAM_EVENT.validate_json(json.dumps(frame), strict=True)
    kinds = [frame["type"] for frame in raw]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert {kind.rpartition("_")[0] for kind in kinds[2:-2]} <= {"content_block"}


@pytest.mark.parametrize("name", COMPLETE)
def test_blocks_rise_and_do_not_overlap(name: str) -> None:
    """Indices count up from 0, every delta belongs to the open block, one block is open at a time."""
    opened: int | None = None
    last = -1
    for frame in frames(COMPLETE[name]):
        match frame["type"]:
            case "content_block_start":
                assert opened is None
                assert frame["index"] == last + 1
                opened = last = frame["index"]
            case "content_block_delta":
                assert frame["index"] == opened
            case "content_block_stop":
                assert frame["index"] == opened
                opened = None
    assert (opened is not None) == (name == "cut")


@pytest.mark.parametrize("name", COMPLETE)
def test_whole_messages_are_what_the_sdk_declares(name: str) -> None:
    """Strictly valid."""
    Message.model_validate_json(json.dumps(whole(COMPLETE[name])), strict=True)


@pytest.mark.parametrize("name", [name for name in COMPLETE if name != "cut"])
def test_a_stream_says_what_the_whole_answer_says(name: str) -> None:
    """Put together by Anthropic's own client, the stream is the whole message, field by field."""
    message = accumulated(transcript(COMPLETE[name]))
    told = whole(COMPLETE[name])
    assert [block.model_dump(exclude_none=True) for block in message.content] == told["content"]
    assert message.usage.model_dump(exclude_none=True) == told["usage"]
    assert (message.id, message.model, message.stop_reason, message.stop_sequence) == (
        told["id"],
        told["model"],
        told["stop_reason"],
        told["stop_sequence"],
    )


def test_a_call_that_was_cut_off_is_never_sold_as_finished() -> None:
    """Whole, it is left out; streamed, its block has no end; the reason is max_tokens in both."""
    assert [block["type"] for block in whole(CUT)["content"]] == ["text"]
    assert whole(CUT)["stop_reason"] == "max_tokens"
    raw = frames(CUT)
    assert [frame["index"] for frame in raw if frame["type"] == "content_block_stop"] == [0]
    assert raw[-2]["delta"]["stop_reason"] == "max_tokens"


def test_the_prompt_is_counted_once() -> None:
    """At the start and at the end, tokens read from the cache and the others are the whole prompt."""
    raw = frames(TEXT)
    for usage in (raw[0]["message"]["usage"], raw[-2]["usage"], whole(TEXT)["usage"]):
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] == 5
    assert raw[-2]["usage"]["cache_read_input_tokens"] == 3


def test_a_stop_string_is_named() -> None:
    """The sequence that ended the answer is the reason, by name."""
    assert (whole(STOPPED)["stop_reason"], whole(STOPPED)["stop_sequence"]) == ("stop_sequence", "END")


def test_a_failure_ends_the_stream_with_an_error_event() -> None:
    """No message_stop follows, and the client raises the error."""
    raw = frames(BROKEN)
    assert raw[-1]["type"] == "error"
    assert raw[-1]["error"]["type"] == "overloaded_error"
    assert raw[-1]["request_id"] == "req-1"
    assert "message_stop" not in [frame["type"] for frame in raw]
    with pytest.raises(anthropic.APIStatusError, match="worker died"):
        accumulated(transcript(BROKEN))


def test_a_failure_is_raised_by_the_whole_answer() -> None:
    """The caller gets the error itself; an answer without an end is a fault of ours."""
    with pytest.raises(ModelUnavailable):
        whole(BROKEN)
    with pytest.raises(InternalFailure):
        whole(TEXT[:3])


def test_a_ping_is_a_real_event() -> None:
    """It has a name and data, since comments do not count for clients that watch for silence."""
    assert MessageEvents(HEADER, RequestId("r")).ping == b'event: ping\ndata: {"type":"ping"}\n\n'


@given(cuts=st.lists(st.text(max_size=4), max_size=6), thinking=st.booleans())
def test_any_split_of_an_answer_gives_the_same_blocks(cuts: list[str], thinking: bool) -> None:
    """However text is cut into deltas, stream and whole answer hold one block of it, equally signed."""
    kind = ReasoningDelta if thinking else TextDelta
    events = (Accepted(1), *(kind(0, cut) for cut in cuts), *EMPTY[1:])
    joined = (Accepted(1), kind(0, "".join(cuts)), *EMPTY[1:])
    assert whole(events) == whole(joined)
    deltas = [frame["delta"] for frame in frames(events) if frame["type"] == "content_block_delta"]
    said = "".join(delta.get("text", delta.get("thinking", "")) for delta in deltas)
    signatures = [delta["signature"] for delta in deltas if "signature" in delta]
    content = whole(joined)["content"]
    assert said == "".join(cuts)
    assert signatures == [block["signature"] for block in content if "signature" in block]
