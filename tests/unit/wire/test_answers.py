"""Streamed and whole answers, against golden transcripts and OpenAI's own types."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from allod.core.errors import InternalFailure, InvalidRequest, ModelUnavailable
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
from allod.core.usage import Timings, Usage
from allod.wire.dialect import Header
from allod.wire.openai.chunks import ChatChunks, CompletionChunks
from allod.wire.openai.errors import error_body
from allod.wire.openai.shapes import completion_logprobs
from allod.wire.openai.whole import ChatWhole, CompletionWhole
from allod.wire.sse import SseParser

GOLDEN = Path(__file__).parents[2] / "golden" / "openai"
ONE = Header("1", 1_770_000_000, "smollm2-135m", 1)
TWO = Header("2", 1_770_000_000, 'a "name"', 2)
TIMINGS = Timings(0.0, 0.1, 0.2)


def scored(text: str, data: bytes, logprob: float) -> ScoredToken:
    chosen = TokenLogprob(text, data, logprob)
    return ScoredToken(chosen, (chosen, TokenLogprob(" x", b" x", float("-inf"))))


PLAIN: Sequence[Event] = (
    Accepted(5),
    Progress(5, 5),
    TextDelta(0, "Hello"),
    TextDelta(0, ' "wörld"\n\u2028😀'),
    TextDelta(0, ""),
    ChoiceFinished(0, "stop"),
    Finished(Usage(5, 4, 3), TIMINGS),
)
CHOICES: Sequence[Event] = (
    Accepted(5),
    TextDelta(1, "B"),
    TextDelta(0, "A"),
    ChoiceFinished(1, "length"),
    TextDelta(0, "a"),
    ChoiceFinished(0, "stop"),
    Finished(Usage(5, 3), TIMINGS),
)
SCORED: Sequence[Event] = (
    Accepted(5),
    TextDelta(0, "Hi", (scored("Hi", b"Hi", -0.25),)),
    TextDelta(0, " 😀", (scored(" \ufffd", b" \xf0\x9f", -1.5), scored("\ufffd", b"\x98\x80", -0.0))),
    TextDelta(0, "", (scored("", b"", -2.0),)),
    ChoiceFinished(0, "length"),
    Finished(Usage(5, 4), TIMINGS),
)
CALLS: Sequence[Event] = (
    Accepted(5),
    ReasoningDelta(0, "Let me "),
    ReasoningDelta(0, "see."),
    TextDelta(0, "Looking."),
    ToolCallStarted(0, 0, "call_a", "look_up"),
    ToolCallDelta(0, 0, '{"key": '),
    ToolCallDelta(0, 0, '"a <"}'),
    ToolCallFinished(0, 0),
    ToolCallStarted(0, 1, "call_b", "stop"),
    ToolCallDelta(0, 1, "{}"),
    ToolCallFinished(0, 1),
    ChoiceFinished(0, "tool_calls"),
    Finished(Usage(5, 9, 0, 4), TIMINGS),
)
CUT: Sequence[Event] = (
    Accepted(5),
    ToolCallStarted(0, 0, "call_a", "look_up"),
    ToolCallDelta(0, 0, '{"key'),
    ChoiceFinished(0, "length"),
    Finished(Usage(5, 9), TIMINGS),
)
BROKEN: Sequence[Event] = (
    Accepted(5),
    TextDelta(0, "Hel"),
    Failed(ModelUnavailable("the model's worker died; it is starting again")),
)

STREAMS = {
    "chat": (ChatChunks(ONE, include_usage=False), PLAIN),
    "chat_usage": (ChatChunks(ONE, include_usage=True), PLAIN),
    "chat_choices": (ChatChunks(TWO, include_usage=True), CHOICES),
    "chat_logprobs": (ChatChunks(ONE, include_usage=False), SCORED),
    "chat_calls": (ChatChunks(ONE, include_usage=True), CALLS),
    "chat_cut_call": (ChatChunks(ONE, include_usage=False), CUT),
    "chat_failed": (ChatChunks(ONE, include_usage=True), BROKEN),
    "completion": (CompletionChunks(ONE, include_usage=False), PLAIN),
    "completion_usage": (CompletionChunks(ONE, include_usage=True), PLAIN),
    "completion_choices": (CompletionChunks(TWO, include_usage=False), CHOICES),
    "completion_logprobs": (CompletionChunks(ONE, include_usage=False), SCORED),
    "completion_failed": (CompletionChunks(ONE, include_usage=False), BROKEN),
}
TRANSCRIPTS = {name: b"".join(map(chunks.feed, events)) for name, (chunks, events) in STREAMS.items()}


def chunks_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(data) for data in SseParser().feed(TRANSCRIPTS[name]) if data != b"[DONE]"]


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_byte_for_byte_the_golden_transcripts(name: str) -> None:
    """The bytes on the wire change only on purpose."""
    assert TRANSCRIPTS[name] == (GOLDEN / f"{name}.txt").read_bytes()


def test_no_golden_transcript_is_forgotten() -> None:
    """Every file is compared with something."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(STREAMS)


@pytest.mark.parametrize("name", [name for name in STREAMS if not name.endswith("failed")])
def test_chunks_are_what_the_openai_sdk_declares(name: str) -> None:
    """Strictly valid, the same header in all, one finish per choice, roles first, usage as asked."""
    kind = ChatCompletionChunk if name.startswith("chat") else Completion
    raw = chunks_of(name)
    choices = [choice for chunk in raw for choice in chunk["choices"]]
    for chunk in raw:
        if kind is ChatCompletionChunk:
            kind.model_validate_json(json.dumps(chunk), strict=True)
        for choice in chunk["choices"]:
            assert set(choice) >= {"index", "logprobs", "finish_reason"}
            assert ("tool_calls" in choice.get("delta", {})) <= ("call" in name)
    assert len({(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in raw}) == 1
    ends = [choice["index"] for choice in choices if choice["finish_reason"] is not None]
    assert sorted(ends) == sorted({choice["index"] for choice in choices})
    assert [chunk for chunk in raw if not chunk["choices"]] == (raw[-1:] if "usage" in raw[0] else [])
    assert ["usage" in chunk for chunk in raw] == ["usage" in raw[0]] * len(raw)
    assert TRANSCRIPTS[name].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("events", [PLAIN, SCORED])
def test_whole_answers_are_what_the_openai_sdk_declares(events: Sequence[Event]) -> None:
    """Strictly valid, and the same text, end and log probabilities as the stream."""
    chat, completion = ChatWhole(ONE), CompletionWhole(ONE)
    for event in events:
        chat.feed(event)
        completion.feed(event)
    answer = ChatCompletion.model_validate_json(chat.body(), strict=True)
    legacy = Completion.model_validate_json(completion.body(), strict=True)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert (answer.choices[0].message.content, legacy.choices[0].text) == (text, text)
    assert answer.choices[0].finish_reason == legacy.choices[0].finish_reason
    assert answer.usage == legacy.usage
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9
    assert (answer.choices[0].logprobs is None) == (events is PLAIN)


def test_the_whole_chat_answer_in_full() -> None:
    """Every key of it."""
    whole = ChatWhole(ONE)
    for event in PLAIN:
        whole.feed(event)
    assert json.loads(whole.body()) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_770_000_000,
        "model": "smollm2-135m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": 'Hello "wörld"\n\u2028😀', "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 4,
            "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_calls_stream_as_strict_clients_want_them() -> None:
    """First id, type and name with empty arguments, then pieces of arguments; one chunk has the end."""
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of("chat_calls") if chunk["choices"]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    firsts = [call for call in calls if "id" in call]
    assert firsts == [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "look_up", "arguments": ""}},
        {"index": 1, "id": "call_b", "type": "function", "function": {"name": "stop", "arguments": ""}},
    ]
    assert all(set(call) == {"index", "function"} for call in calls if "id" not in call)
    joined = "".join(call["function"]["arguments"] for call in calls if call["index"] == 0)
    assert json.loads(joined) == {"key": "a <"}


def test_the_whole_answer_has_the_same_calls_and_thoughts_as_the_stream() -> None:
    """Content stands beside them, and is null only when there is none."""
    whole = ChatWhole(ONE)
    for event in CALLS:
        whole.feed(event)
    answer = json.loads(whole.body())
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"] == "Let me see."
    assert message["content"] == "Looking."
    assert [call["id"] for call in message["tool_calls"]] == ["call_a", "call_b"]
    assert message["tool_calls"][0]["function"]["arguments"] == '{"key": "a <"}'
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}
    ChatCompletion.model_validate_json(whole.body(), strict=True)


def test_a_call_that_was_cut_off_is_not_in_the_whole_answer() -> None:
    """It cannot be run; the finish reason says length."""
    whole = ChatWhole(ONE)
    for event in CUT:
        whole.feed(event)
    choice = json.loads(whole.body())["choices"][0]
    assert choice["finish_reason"] == "length"
    assert "tool_calls" not in choice["message"]
    assert choice["message"]["content"] == ""


def test_legacy_logprobs_are_the_same_whole_and_streamed() -> None:
    """Offsets run on over the chunks, and stay within the text where tokens hold half characters."""
    whole = CompletionWhole(ONE)
    for event in SCORED:
        whole.feed(event)
    gathered: dict[str, list[Any]] = {}
    for chunk in chunks_of("completion_logprobs"):
        for key, items in (chunk["choices"][0]["logprobs"] or {}).items():
            gathered.setdefault(key, []).extend(items)
    assert json.loads(whole.body())["choices"][0]["logprobs"] == gathered
    assert gathered["text_offset"] == [0, 2, 4, 4]
    assert gathered["top_logprobs"][0] == {"Hi": -0.25, " x": -9999.0}


def test_of_alternatives_with_one_text_the_likeliest_is_kept() -> None:
    """Two different halves of characters look the same; the legacy object has one key for both."""
    half = TokenLogprob("\ufffd", b"\xf0", -1.0)
    delta = TextDelta(0, "", (ScoredToken(half, (half, TokenLogprob("\ufffd", b"\xf1", -2.0))),))
    shape = completion_logprobs([delta], 0)
    assert shape is not None
    assert shape["top_logprobs"] == [{"\ufffd": -1.0}]


@pytest.mark.parametrize("chunks", [ChatChunks, CompletionChunks])
def test_an_event_is_one_line_by_any_definition_of_a_line(
    chunks: type[ChatChunks] | type[CompletionChunks],
) -> None:
    """Clients that split decoded text into lines the way `str.splitlines` does lose nothing."""
    text = "a\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029b"
    event = chunks(ONE, include_usage=False).feed(TextDelta(0, text, (scored(text, b"", -1.0),)))
    line, *rest = event.decode().splitlines()
    assert rest == [""]
    choice = json.loads(line.removeprefix("data: "))["choices"][0]
    assert choice.get("text", choice.get("delta", {}).get("content")) == text


def test_choices_keep_their_own_text() -> None:
    """Interleaved deltas are sorted out by index."""
    whole = ChatWhole(TWO)
    for event in CHOICES:
        whole.feed(event)
    answer = ChatCompletion.model_validate_json(whole.body())
    assert [(one.index, one.message.content, one.finish_reason) for one in answer.choices] == [
        (0, "Aa", "stop"),
        (1, "B", "length"),
    ]


@pytest.mark.parametrize("whole", [ChatWhole(ONE), CompletionWhole(ONE)])
def test_a_failed_request_has_no_whole_answer(whole: ChatWhole | CompletionWhole) -> None:
    """What failed after it was accepted is raised, so that it becomes an HTTP error."""
    with pytest.raises(InternalFailure, match="broke off"):
        whole.body()
    for event in BROKEN:
        whole.feed(event)
    with pytest.raises(ModelUnavailable):
        whole.body()


def test_an_error_body_has_all_four_keys() -> None:
    """The SDK reads message, type, param and code."""
    assert json.loads(error_body(InvalidRequest("n: too many", param="n"))) == {
        "error": {"message": "n: too many", "type": "invalid_request_error", "param": "n", "code": None}
    }
