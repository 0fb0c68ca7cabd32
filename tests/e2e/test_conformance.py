"""Every body and every event as the documents describe them, and the stream the same as the whole."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import jsonschema
import pytest
from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from tests.scaffolding.server import RunningServer
from tests.scaffolding.shapes import check

from allod.registry.starter import STARTER_NAME
from allod.wire.sse import SseParser

pytestmark = pytest.mark.model

Body = dict[str, Any]
ASK = "What is the capital of France?"
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK}]
PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "Weather of a city", "parameters": PLACE, "strict": True}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
OTHER = {"name": "stop_all", "parameters": NOTHING}
CHAT_TOOLS = [{"type": "function", "function": one} for one in (FUNCTION, OTHER)]
RESPONSE_TOOLS = [{"type": "function", **one} for one in (FUNCTION, OTHER)]
MESSAGE_TOOLS = [
    {"name": "weather", "description": "Weather of a city", "input_schema": PLACE, "strict": True},
    {"name": "stop_all", "input_schema": NOTHING},
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
SCHEMA_FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE, "strict": True}}


@dataclass
class Said:
    """What one choice came to, whatever the dialect.

    Attributes:
        calls: name and arguments of each.
        finish: why it ended.
        scores: log probabilities, as the dialect writes them; a prompt that was read in other chunks
            may change their last digits.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish: str | None = None
    scores: list[Any] = field(default_factory=list, compare=False)


Answer = tuple[list[Said], Mapping[str, int]]
"""The choices and the usage."""


CHATS: dict[str, Body] = {
    "plain": {"max_tokens": 12},
    "one token": {"max_tokens": 1},
    "stop": {"stop": ["Paris", "."], "max_tokens": 24},
    "choices": {"n": 2, "seed": 7, "temperature": 0.8, "max_tokens": 6},
    "logprobs": {"logprobs": True, "top_logprobs": 2, "max_tokens": 5},
    "tools auto": {"tools": CHAT_TOOLS, "max_tokens": 12},
    "tools required": {"tools": CHAT_TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
    "tools required, cut": {"tools": CHAT_TOOLS, "tool_choice": "required", "max_tokens": 9},
    "tools named": {
        "tools": CHAT_TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "tools none": {"tools": CHAT_TOOLS, "tool_choice": "none", "max_tokens": 8},
    "tool results": {
        "tools": CHAT_TOOLS,
        "messages": [
            *TURNS,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
        ],
        "max_tokens": 8,
    },
    "json schema": {"response_format": SCHEMA_FORMAT},
    "json schema, cut": {"response_format": SCHEMA_FORMAT, "max_tokens": 4},
    "json object": {"response_format": {"type": "json_object"}, "max_tokens": 12},
    "regex": {"response_format": {"type": "regex", "pattern": "(Paris|Rome), [0-9]{2} days"}},
    "reasoning": {"reasoning_effort": "low", "reasoning_format": "field", "max_tokens": 6},
    "continued": {
        "messages": [*TURNS, {"role": "assistant", "content": "The capital is"}],
        "continue_final_message": True,
        "max_tokens": 6,
    },
}
COMPLETIONS: dict[str, Body] = {
    "text": {"prompt": "The capital of France is", "max_tokens": 6},
    "texts": {"prompt": ["One, two,", "A, B,"], "max_tokens": 4},
    "tokens": {"prompt": [504, 3575, 282], "max_tokens": 4},
    "echo": {"prompt": ["One, two,", "A, B,"], "n": 2, "echo": True, "max_tokens": 3},
    "logprobs": {"prompt": "One, two,", "logprobs": 2, "max_tokens": 4},
    "stop": {"prompt": "One, two, three,", "stop": ",", "max_tokens": 8},
}
RESPONSES: dict[str, Body] = {
    "plain": {"max_output_tokens": 16},
    "incomplete": {"max_output_tokens": 3},
    "tools required": {"tools": RESPONSE_TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
    "tools required, cut": {"tools": RESPONSE_TOOLS, "tool_choice": "required", "max_output_tokens": 9},
    "tool named": {"tools": RESPONSE_TOOLS, "tool_choice": {"type": "function", "name": "weather"}},
    "format": {"text": {"format": {"type": "json_schema", "name": "place", "schema": PLACE}}},
    "logprobs": {
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
        "max_output_tokens": 4,
    },
}
MESSAGES: dict[str, Body] = {
    "plain": {"max_tokens": 12},
    "cut": {"max_tokens": 2},
    "stop sequence": {"stop_sequences": ["Paris", "."]},
    "system blocks": {"system": [{"type": "text", "text": "Be brief."}], "max_tokens": 6},
    "any tool": {
        "tools": MESSAGE_TOOLS,
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    },
    "any tool, cut": {"tools": MESSAGE_TOOLS, "tool_choice": {"type": "any"}, "max_tokens": 9},
    "one tool": {"tools": MESSAGE_TOOLS, "tool_choice": {"type": "tool", "name": "weather"}},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 8},
    "format": {"output_config": {"format": {"type": "json_schema", "schema": PLACE}}},
}
CHAT = {"messages": TURNS, "temperature": 0, "max_tokens": 40}
COMPLETION = {"temperature": 0}
RESPONSE = {"input": ASK, "temperature": 0, "max_output_tokens": 40}
MESSAGE = {"messages": TURNS[1:], "temperature": 0, "max_tokens": 40}
WITH_USAGE = {"stream_options": {"include_usage": True}}
"""What a stream has to be asked for in the first two dialects."""

DIALECTS: dict[str, tuple[Body, Body, dict[str, Body]]] = {
    "/v1/chat/completions": (CHAT, WITH_USAGE, CHATS),
    "/v1/completions": (COMPLETION, WITH_USAGE, COMPLETIONS),
    "/v1/responses": (RESPONSE, {}, RESPONSES),
    "/v1/messages": (MESSAGE, {}, MESSAGES),
}
"""By path: what all cases have in common, what is added for a stream, and the cases."""

AT_ONCE = 8
"""Rows that share a pass take little longer than one alone."""

Answers = dict[tuple[str, str], tuple[Future[Any], Future[list[Any]]]]
"""By path and case: the whole answer, and the events of the stream."""


@pytest.fixture(scope="module")
def http(starter_server: RunningServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=starter_server.base_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def answers(http: httpx2.Client) -> Iterator[Answers]:
    """All that the cases ask, which is asked several at once before the first of them is looked at."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            (path, name): (
                pool.submit(whole, http, path, {"model": STARTER_NAME, **common, **own}),
                pool.submit(streamed, http, path, {"model": STARTER_NAME, **common, **own, **more}),
            )
            for path, (common, more, cases) in DIALECTS.items()
            for name, own in cases.items()
        }
        pool.shutdown(cancel_futures=True)


def both(answers: Answers, path: str, name: str) -> tuple[Any, list[Any]]:
    first, second = answers[path, name]
    return first.result(), second.result()


def whole(http: httpx2.Client, path: str, body: Body) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def streamed(http: httpx2.Client, path: str, body: Body) -> list[Any]:
    """The data of every event; `[DONE]` stays a string."""
    answer = http.post(path, json={**body, "stream": True})
    assert answer.status_code == 200, answer.text
    events = SseParser().feed(answer.content)
    return [json.loads(event) if event != b"[DONE]" else "[DONE]" for event in events]


def counts(usage: Mapping[str, Any]) -> dict[str, int]:
    """Without what was in a cache: the second time, more may be."""
    return {name: number for name, number in usage.items() if isinstance(number, int)}


def whole_choices(answer: Body) -> Answer:
    choices: list[Said] = []
    for place, choice in enumerate(answer["choices"]):
        assert choice["index"] == place
        message = choice.get("message") or {"content": choice["text"]}
        calls = [one["function"] for one in message.get("tool_calls", ())]
        scores = choice["logprobs"] or {}
        choices.append(
            Said(
                text=message["content"] or "",
                reasoning=message.get("reasoning_content", ""),
                calls=[(one["name"], one["arguments"]) for one in calls],
                finish=choice["finish_reason"],
                scores=scores.get("content") or list(map(list, zip(*scores.values(), strict=True))),
            )
        )
    return choices, counts(answer["usage"])


def streamed_choices(events: Sequence[Any], choices: int) -> Answer:
    """What the chunks add up to, with the laws of their order."""
    *chunks, counted, done = events
    assert done == "[DONE]"
    assert counted["choices"] == []
    said = [Said() for _ in range(choices)]
    for chunk in chunks:
        assert chunk["usage"] is None
        (choice,) = chunk["choices"]
        one = said[choice["index"]]
        assert one.finish is None
        one.finish = choice["finish_reason"]
        _add(one, choice)
    return said, counts(counted["usage"])


def _add(one: Said, choice: Body) -> None:
    delta = choice.get("delta") or {"content": choice["text"]} if "text" in choice else choice["delta"]
    one.text += delta.get("content", "")
    one.reasoning += delta.get("reasoning_content", "")
    for call in delta.get("tool_calls", ()):
        if call["index"] == len(one.calls):
            assert call["id"].startswith("call_")
            one.calls.append((call["function"]["name"], ""))
        name, arguments = one.calls[call["index"]]
        one.calls[call["index"]] = (name, arguments + call["function"]["arguments"])
    scores = choice["logprobs"] or {}
    one.scores += scores.get("content") or list(map(list, zip(*scores.values(), strict=True)))


def assert_same(one: Answer, other: Answer) -> None:
    """The law. Of a call that was cut off, the stream has the beginning and the whole answer nothing."""
    for first, second in zip(one[0], other[0], strict=True):
        if first.finish in ("length", "max_tokens"):
            assert len(second.calls) - len(first.calls) in (0, 1)
            second.calls = second.calls[: len(first.calls)]
        else:
            for _, arguments in first.calls:
                assert isinstance(json.loads(arguments), dict)
        assert first == second
        assert first.scores == rounded(second.scores)
    assert one[1] == other[1]


@pytest.mark.parametrize("name", CHATS)
def test_chat(answers: Answers, name: str) -> None:
    """Chat completions: shapes of whole and chunk, and the law."""
    answer, events = both(answers, "/v1/chat/completions", name)
    check("ChatCompletion", answer)
    TypeAdapter(ChatCompletion).validate_python(answer)
    for event in events[:-1]:
        check("ChatCompletionChunk", event)
        TypeAdapter(ChatCompletionChunk).validate_python(event)
    assert len({(event["id"], event["created"], event["model"]) for event in events[:-1]}) == 1
    assert_same(whole_choices(answer), streamed_choices(events, CHATS[name].get("n", 1)))
    check_chat(name, whole_choices(answer)[0][0])


def rounded(scores: Any) -> Any:
    """What equals the same with log probabilities that are off by less than a hundredth."""
    if isinstance(scores, float):
        return pytest.approx(scores, abs=0.01)
    if isinstance(scores, dict):
        return {name: rounded(score) for name, score in scores.items()}
    return [rounded(score) for score in scores] if isinstance(scores, list | tuple) else scores


def check_chat(name: str, said: Said) -> None:
    """That a case is about what its name says."""
    called = [tool for tool, _ in said.calls]
    match name:
        case "tools required" | "tools named":
            assert said.finish == "tool_calls"
            assert called == ["weather"] if name == "tools named" else called
        case "tools required, cut" | "json schema, cut" | "one token":
            assert said.finish == "length"
        case "stop":
            assert said.finish == "stop"
            assert "Paris" not in said.text
        case "json schema":
            jsonschema.validate(json.loads(said.text), PLACE)
        case "regex":
            assert said.text.endswith(" days")
        case "logprobs":
            assert len(said.scores) == 5
        case "tools none":
            assert not called
        case _:
            pass


@pytest.mark.parametrize("name", COMPLETIONS)
def test_completions(answers: Answers, name: str) -> None:
    """Completions: shapes of whole and chunk, and the law; every prompt has its choices, in order."""
    answer, events = both(answers, "/v1/completions", name)
    for one in (answer, *events[:-1]):
        check("Completion", one)
    TypeAdapter(Completion).validate_python(answer)
    choices, usage = whole_choices(answer)
    assert_same((choices, usage), streamed_choices(events, len(choices)))
    if name == "echo":
        starts = [choice.text[:4] for choice in choices]
        assert starts == ["One,", "One,", "A, B", "A, B"]


def without_ids(value: Any) -> Any:
    """A response without what differs from one to the next."""
    if isinstance(value, list):
        return [without_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    names = ("id", "call_id", "created_at", "completed_at", "input_tokens_details")
    return {name: without_ids(one) for name, one in value.items() if name not in names}


@pytest.mark.parametrize("name", RESPONSES)
def test_responses(answers: Answers, name: str) -> None:
    """Responses: shapes of whole and event, numbered events that add up to the final response, the law."""
    answer, events = both(answers, "/v1/responses", name)
    check("ResponseObject", answer)
    TypeAdapter(Response).validate_python(answer)
    assert answer["output"]
    for event, number in zip(events, count()):
        check("ResponseStreamEvent", event)
        TypeAdapter(ResponseStreamEvent).validate_python(event)
        assert event["sequence_number"] == number
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    final = events[-1]["response"]
    assert events[-1]["type"] == f"response.{final['status']}"
    assert without_ids(final) == rounded(without_ids(answer))
    assert told(events) == final["output"]
    done = "response.function_call_arguments.done"
    complete = [
        one for one in final["output"] if (one["type"], one["status"]) == ("function_call", "completed")
    ]
    assert sum(event["type"] == done for event in events) == len(complete)
    if "cut" in name or name == "incomplete":
        assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    else:
        assert bool(complete) == name.startswith("tool")


def told(events: Sequence[Body]) -> list[Body]:
    """The items that the events of the stream add up to; deltas must be what the end says."""
    items: dict[int, Body] = {}
    pieces: dict[int, str] = {}
    for event in events:
        place = event.get("output_index", -1)
        match event["type"]:
            case "response.output_item.added":
                assert place == len(items)
                pieces[place] = ""
            case "response.output_text.delta" | "response.function_call_arguments.delta":
                pieces[place] += event["delta"]
            case "response.output_item.done":
                item = items[place] = event["item"]
                text = item.get("arguments", "".join(part["text"] for part in item.get("content", ())))
                assert pieces[place] == text
            case _:
                pass
    return list(items.values())


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(answers: Answers, name: str) -> None:
    """Messages: shapes of whole and event, blocks in order, and the law."""
    answer, events = both(answers, "/v1/messages", name)
    check("AnthropicMessage", answer)
    TypeAdapter(Message).validate_python(answer)
    for event in events:
        check("AnthropicStreamEvent", event)
        if event["type"] != "ping":
            TypeAdapter[Any](RawMessageStreamEvent).validate_python(event)
    assert_same(whole_message(answer), streamed_message(events))
    (said,), _ = whole_message(answer)
    if "tool" in name:
        cut = "cut" in name
        assert said.finish == ("max_tokens" if cut else "tool_use")
        assert bool(said.calls) != cut
    if name == "stop sequence":
        assert said.finish == "stop_sequence"
        assert answer["stop_sequence"] in MESSAGES[name]["stop_sequences"]


def whole_message(answer: Body) -> Answer:
    said = Said(finish=answer["stop_reason"])
    for block in answer["content"]:
        match block["type"]:
            case "text":
                said.text += block["text"]
            case "thinking":
                said.reasoning += block["thinking"]
            case _:
                said.calls.append((block["name"], json.dumps(block["input"])))
    return [said], counts(answer["usage"])


def streamed_message(events: Sequence[Any]) -> Answer:
    """What the events add up to, with the laws of their order."""
    assert [event["type"] for event in (events[0], *events[-2:])] == [
        "message_start", "message_delta", "message_stop",
    ]  # fmt: skip
    said, opened, closed = Said(finish=events[-2]["delta"]["stop_reason"]), -1, -1
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                opened += 1
                assert event["index"] == opened == closed + 1
                if event["content_block"]["type"] == "tool_use":
                    said.calls.append((event["content_block"]["name"], ""))
            case "content_block_delta":
                assert event["index"] == opened == closed + 1
                _take(said, event["delta"])
            case "content_block_stop":
                closed += 1
                assert event["index"] == opened == closed
            case kind:
                assert kind == "ping"
    whole_calls = [(name, json.dumps(json.loads(text or "{}"))) for name, text in said.calls[: closed + 1]]
    said.calls = whole_calls if opened == closed else said.calls
    assert events[0]["message"]["usage"]["input_tokens"] == events[-2]["usage"]["input_tokens"]
    return [said], counts(events[-2]["usage"])


def _take(said: Said, delta: Body) -> None:
    match delta["type"]:
        case "text_delta":
            said.text += delta["text"]
        case "thinking_delta":
            said.reasoning += delta["thinking"]
        case "input_json_delta":
            name, text = said.calls[-1]
            said.calls[-1] = (name, text + delta["partial_json"])
        case kind:
            assert kind == "signature_delta"


def test_models_and_tokens(http: httpx2.Client) -> None:
    """Three lists of models and their members, token counts, and what the two token routes make of a text."""
    listed = http.get("/v1/models").json()
    check("ModelList", listed)
    for one in listed["data"]:
        TypeAdapter(Model).validate_python(one)
    check("Model", http.get(f"/v1/models/{STARTER_NAME}").json())
    check("LMStudioModelList", http.get("/api/v0/models").json())
    check("LMStudioModel", http.get(f"/api/v0/models/{STARTER_NAME}").json())
    headers = {"anthropic-version": "2023-06-01"}
    theirs = http.get("/v1/models?limit=1000", headers=headers).json()
    check("AnthropicModelList", theirs)
    for one in theirs["data"]:
        TypeAdapter(ModelInfo).validate_python(one)
    check("AnthropicModel", http.get(f"/v1/models/{STARTER_NAME}", headers=headers).json())
    tokens = whole(http, "/tokenize", {"model": STARTER_NAME, "prompt": ASK})
    check("Tokenized", tokens)
    text = whole(http, "/detokenize", {"model": STARTER_NAME, "tokens": tokens["tokens"]})
    check("Detokenized", text)
    assert text["prompt"] == ASK
    counted = whole(http, "/v1/messages/count_tokens", {"model": STARTER_NAME, "messages": TURNS[1:]})
    check("AnthropicTokenCount", counted)
    TypeAdapter(MessageTokensCount).validate_python(counted)
    made = whole(http, "/v1/responses/input_tokens", {"model": STARTER_NAME, "input": ASK})
    check("ResponseInputTokens", made)
    assert made["input_tokens"] == counted["input_tokens"]


Wrong = tuple[str, Callable[[Body], Body], int, str | None]
WRONG: dict[str, Wrong] = {
    "unknown model": ("model", lambda body: {**body, "model": "none"}, 404, "model_not_found"),
    "too much": ("max_tokens", lambda body: {**body, "max_tokens": 10**9}, 400, "context_length_exceeded"),
    "temperature": ("temperature", lambda body: {**body, "temperature": "hot"}, 400, None),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", WRONG)
def test_errors(http: httpx2.Client, name: str, *, stream: bool) -> None:
    """A refusal has a status and the shape of its dialect, whether a stream was asked for or not."""
    param, spoil, status, code = WRONG[name]
    bodies = {
        "/v1/chat/completions": {"messages": TURNS, "max_tokens": 1},
        "/v1/completions": {"prompt": "One,", "max_tokens": 1},
        "/v1/messages": {"messages": TURNS[1:], "max_tokens": 1},
        "/v1/responses": {"input": ASK, "max_output_tokens": 1},
    }
    for path, body in bodies.items():
        if path == "/v1/messages" and name == "too much":
            continue  # its clients ask for all they could ever use: it is lowered to what fits
        asked = spoil({"model": STARTER_NAME, **body, "stream": stream})
        if path == "/v1/responses" and name == "too much":
            asked["max_output_tokens"] = asked.pop("max_tokens")
        answer = http.post(path, json=asked)
        assert answer.status_code == status, f"{path}: {answer.text}"
        assert answer.headers["content-type"] == "application/json"
        if path == "/v1/messages":
            check("AnthropicError", answer.json())
            assert answer.headers["request-id"] == answer.json()["request_id"]
            continue
        check("Error", answer.json())
        error = answer.json()["error"]
        assert error["code"] == code
        if code is None:
            assert error["param"] == param
