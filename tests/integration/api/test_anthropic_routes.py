"""Anthropic's own client against a running server: answers, counts, models, and errors in its words."""

import asyncio

import anthropic
import pytest
from anthropic.types.shared import ErrorResponse

from allod.core.errors import Busy, ContextLengthExceeded, ModelUnavailable, Overflow
from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Failed,
    Finished,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.core.usage import Timings, Usage

HI = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
TIMINGS = Timings(0.0, 0.0, 0.0)
CALLING = (
    Accepted(3),
    ToolCallStarted(0, 0, "call_a", "now"),
    ToolCallDelta(0, 0, '{"in": "Bern"}'),
    ToolCallFinished(0, 0),
    ChoiceFinished(0, "tool_calls"),
    Finished(Usage(3, 2), TIMINGS),
)


def sdk(house, **options) -> anthropic.AsyncAnthropic:
    options = {"api_key": "none", "max_retries": 0, **options}
    return anthropic.AsyncAnthropic(base_url=house.url, **options)


async def test_the_sdk_gets_its_answers(start) -> None:
    """Whole, streamed, and by way of the beta route."""
    house = await start()
    async with sdk(house) as client:
        message = await client.messages.create(**HI)
        beta = await client.beta.messages.create(**HI, betas=["anything-2099-01-01"])
        async with client.messages.stream(**HI) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            streamed = await stream.get_final_message()
    assert [block.text for block in message.content if block.type == "text"] == ["Hello"]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == (
        "end_turn",
        3,
        2,
    )
    assert message.id.startswith("msg_")
    assert beta.content[0].to_dict() == message.content[0].to_dict()
    assert text == "Hello"
    assert streamed.content[0].model_dump(include={"type", "text"}) == {"type": "text", "text": "Hello"}
    assert streamed.usage == message.usage


async def test_a_call_goes_round(start) -> None:
    """The call's id comes back as Anthropic's client sends it, and reaches the backend as ours."""
    house = await start(lambda request, card: CALLING)
    tool: anthropic.types.ToolParam = {"name": "now", "input_schema": {"type": "object"}}
    async with sdk(house) as client:
        async with client.messages.stream(**HI, tools=[tool]) as stream:
            message = await stream.get_final_message()
        (call,) = message.content
        assert call.type == "tool_use"
        assert (call.id, call.input) == ("toolu_a", {"in": "Bern"})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "noon"}
        turns = [*HI["messages"], message.to_param(), {"role": "user", "content": [result]}]
        await client.messages.create(**{**HI, "messages": turns}, tools=[tool])
    sent = house.backend.requests[-1].source.messages
    assert sent[1].tool_calls[0].identifier == sent[2].call_identifier == "call_a"
    assert sent[2].content == "noon"


async def test_an_error_has_anthropics_shape_and_id(start) -> None:
    """Strictly what the SDK declares, under the id that the headers carry."""
    house = await start()
    body = {**HI, "max_tokens": None}
    response = await house.client.post("/v1/messages?beta=true", json=body)
    error = ErrorResponse.model_validate_json(response.content, strict=True)
    assert response.status_code == 400
    assert error.error.type == "invalid_request_error"
    assert error.error.message == "max_tokens: Input should be a valid integer"
    assert error.request_id == response.headers["request-id"] == response.headers["x-request-id"]
    assert int(response.headers["content-length"]) == len(response.content)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Busy("the queue is full", retry_after_seconds=7), 503, "overloaded_error"),
        (ModelUnavailable("loading"), 503, "overloaded_error"),
        (RuntimeError("secret"), 500, "api_error"),
    ],
)
async def test_failures_before_the_answer(start, rude, error: Exception, status: int, kind: str) -> None:
    """They have their status and Anthropic's type, streamed or not, and tell no secrets."""
    house = await start(rude(error=error))
    for stream in (False, True):
        response = await house.client.post("/v1/messages", json={**HI, "stream": stream})
        assert response.status_code == status
        assert response.json()["error"]["type"] == kind
        assert "secret" not in response.text
        assert response.headers.get("retry-after") == ("7" if isinstance(error, Busy) else None)


@pytest.mark.parametrize(
    ("overflow", "words"),
    [
        (Overflow(5000, None, 4096), "prompt is too long: 5000 tokens > 4096 maximum"),
        (Overflow(5000, 10, 4096), "prompt is too long: 5000 tokens > 4096 maximum"),
        (
            Overflow(4000, 1000, 4096),
            "input length and `max_tokens` exceed context limit: 4000 + 1000 > 4096, "
            "decrease input length or `max_tokens` and try again",
        ),
        (None, "prompt is too long: full"),
    ],
)
async def test_an_overflow_is_told_in_the_words_clients_match_on(start, overflow, words: str) -> None:
    """So that agents shorten the conversation instead of giving up."""
    house = await start(lambda request, card: [ContextLengthExceeded("full", overflow=overflow)])
    async with sdk(house) as client:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.messages.create(**HI)
    assert caught.value.body["error"]["message"] == words  # type: ignore[index]


async def test_a_failure_after_the_first_byte_is_an_event(start) -> None:
    """The client raises it; no message_stop was sent."""
    house = await start(lambda request, card: [Accepted(3), Failed(ModelUnavailable("the worker died"))])
    response = await house.client.post("/v1/messages", json={**HI, "stream": True})
    assert response.status_code == 200
    assert "event: error\n" in response.text
    assert "message_stop" not in response.text


async def test_silence_is_filled_with_real_pings(start) -> None:
    """Comments would not keep the clock of these clients from running out."""
    gate = asyncio.Event()
    ending = (ChoiceFinished(0, "stop"), Finished(Usage(3, 2), TIMINGS))
    house = await start(lambda request, card: [Accepted(3), gate, *ending], keepalive_seconds=0.05)
    seen = b""
    async with house.client.stream("POST", "/v1/messages", json={**HI, "stream": True}) as response:
        async for chunk in response.aiter_bytes():
            seen += chunk
            if seen.count(b"event: ping\n") >= 3:
                gate.set()
    assert seen.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert b"\n: " not in seen


async def test_keys_by_both_headers(start) -> None:
    """x-api-key and a bearer token open the door; without them the refusal is Anthropic's."""
    house = await start()
    secret = house.keys.add("me")
    async with sdk(house, api_key=secret) as client:
        assert (await client.messages.create(**HI)).content
    async with sdk(house, api_key=None, auth_token=secret) as client:
        assert (await client.messages.create(**HI)).content
    async with sdk(house, api_key="wrong") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(**HI)
    assert caught.value.body["type"] == "error"  # type: ignore[index]
    assert caught.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


async def test_a_count_is_what_an_answer_is_charged(start) -> None:
    """count_tokens asks the same prompt reader, for the same prompt."""
    house = await start()
    async with sdk(house) as client:
        counted = await client.messages.count_tokens(model="tiny", messages=HI["messages"])
    assert counted.input_tokens > 0


async def test_models_for_both_kinds_of_clients(start) -> None:
    """The same route lists models in the shape of whoever asks, page by page."""
    house = await start()
    async with sdk(house) as client:
        page = await client.models.list(limit=1000)
        one = await client.models.retrieve("tiny")
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("none")
        with pytest.raises(anthropic.BadRequestError, match="limit: Input should be from 1 to 1000"):
            await client.models.list(limit=0)
    assert [model.id for model in page.data] == ["tiny"]
    assert not page.has_more
    assert (one.id, one.type, one.max_input_tokens) == ("tiny", "model", 4096)
    assert (await house.client.get("/v1/models")).json()["object"] == "list"


async def test_unknown_routes_answer_in_the_words_of_the_client(start) -> None:
    """By the route, or by the header on any other route."""
    house = await start()
    below = await house.client.get("/v1/messages/batches")
    wrong = await house.client.get("/v1/messages")
    headed = await house.client.get("/nowhere", headers={"anthropic-version": "2023-06-01"})
    plain = await house.client.get("/nowhere")
    doubled = await house.client.post("/v1/v1/messages", json={})
    assert (below.status_code, below.json()["error"]["type"]) == (404, "not_found_error")
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (405, "invalid_request_error")
    assert wrong.headers["allow"] == "POST"
    assert headed.json()["type"] == "error"
    assert "type" not in plain.json()
    assert "request-id" not in plain.headers
    assert doubled.json()["error"]["message"] in {"max_tokens: Field required", "messages: Field required"}


async def test_a_body_that_is_too_large(start) -> None:
    """Has its own type."""
    house = await start(max_body_bytes=64)
    response = await house.client.post("/v1/messages", json=HI)
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")
