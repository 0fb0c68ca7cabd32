"""The Responses routes over HTTP, with OpenAI's own client."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from openai import BadRequestError, NotFoundError
from openai.types.responses import CompactedResponse, Response
from tests.scaffolding.responses_house import ResponsesHouse, responses_house

from allod.api.settings import ApiSettings
from allod.core.card import ModelCard
from allod.core.errors import ModelUnavailable
from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.core.request import Conversation, GenerationRequest
from allod.core.usage import Timings, Usage
from allod.testing.backend import Act

END = Finished(Usage(3, 2), Timings(0.0, 0.0, 0.0))
CALLING: tuple[Event, ...] = (
    Accepted(3),
    ReasoningDelta(0, "hm"),
    ToolCallStarted(0, 0, "call_1", "look"),
    ToolCallDelta(0, 0, "{}"),
    ToolCallFinished(0, 0),
    ChoiceFinished(0, "tool_calls"),
    END,
)
LOOK = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {}},
    "strict": True,
}


def echo(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
    """Say how many messages there are, and what the last one says."""
    assert isinstance(request.source, Conversation)
    messages = request.source.messages
    said = f"{len(messages)}:{messages[-1].content}"
    return (Accepted(3), TextDelta(0, said), ChoiceFinished(0, "stop"), END)


def shown(house: ResponsesHouse) -> list[tuple[str, str]]:
    source = house.backend.requests[-1].source
    assert isinstance(source, Conversation)
    return [(message.role, message.content) for message in source.messages]


async def test_a_conversation_goes_on_whatever_the_model_said(tmp_path: Path) -> None:
    """What no client may send, a model may have said: its kept answer is read again as it is."""

    def odd(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(3), TextDelta(0, "/\0"), ChoiceFinished(0, "stop"), END)

    async with responses_house(tmp_path, odd) as house, house.sdk() as sdk:
        first = await sdk.responses.create(model="tiny", input="one")
        assert first.output_text == "/\0"
        await sdk.responses.create(model="tiny", input="two", previous_response_id=first.id)
        assert shown(house) == [("user", "one"), ("assistant", "/\0"), ("user", "two")]
        with pytest.raises(BadRequestError, match="NUL"):
            await sdk.responses.create(model="tiny", input="a\0b", previous_response_id=first.id)


async def test_a_response_is_kept_continued_listed_and_forgotten(tmp_path: Path) -> None:
    """The whole life of a stored response; instructions are not inherited."""
    async with responses_house(tmp_path, echo) as house, house.sdk() as sdk:
        first = await sdk.responses.create(model="tiny", input="one", instructions="brief")
        assert first.output_text == "2:one"
        assert first.temperature == 0.6
        second = await sdk.responses.create(model="tiny", input="two", previous_response_id=first.id)
        assert second.output_text == "3:two"
        assert shown(house) == [("user", "one"), ("assistant", "2:one"), ("user", "two")]
        again = await sdk.responses.retrieve(second.id)
        assert again == second
        items = await sdk.responses.input_items.list(second.id)
        assert [json.loads(item.model_dump_json())["content"][0]["text"] for item in items.data] == ["two"]
        await sdk.responses.delete(first.id)
        with pytest.raises(NotFoundError):
            await sdk.responses.retrieve(first.id)
        with pytest.raises(BadRequestError) as caught:
            await sdk.responses.create(model="tiny", input="three", previous_response_id=second.id)
        assert (caught.value.code, caught.value.param) == (
            "previous_response_not_found",
            "previous_response_id",
        )


async def test_a_streamed_response_is_the_kept_one(tmp_path: Path) -> None:
    """What the stream ends with is what is retrieved, and a tool's result answers its call."""

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        assert isinstance(request.source, Conversation)
        return CALLING if len(request.source.messages) == 1 else echo(request, card)

    async with responses_house(tmp_path, script) as house, house.sdk() as sdk:
        async with sdk.responses.stream(model="tiny", input="go", tools=[LOOK]) as stream:  # type: ignore[list-item]
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert kinds[-1] == "response.completed"
        kept = await sdk.responses.retrieve(final.id)
        assert kept.model_dump(exclude={"output"}) == Response.model_validate(final.model_dump()).model_dump(
            exclude={"output"}
        )
        call = kept.output[1]
        assert call.type == "function_call"
        answer = await sdk.responses.create(
            model="tiny",
            previous_response_id=final.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sky"}],
        )
        assert answer.output_text == "3:sky"
        source = house.backend.requests[-1].source
        assert isinstance(source, Conversation)
        assert source.messages[1].reasoning == "hm"
        assert source.messages[2].name == "look"


async def test_nothing_is_kept_of_a_response_that_must_not_be(tmp_path: Path) -> None:
    """`store: false` leaves no trace, and such a response cannot be continued."""
    async with responses_house(tmp_path, echo) as house, house.sdk() as sdk:
        first = await sdk.responses.create(model="tiny", input="one", store=False)
        assert not house.keeper.records
        with pytest.raises(BadRequestError):
            await sdk.responses.create(model="tiny", input="two", previous_response_id=first.id)
        with pytest.raises(NotFoundError):
            await sdk.responses.cancel(first.id)


async def test_items_are_found_by_their_ids(tmp_path: Path) -> None:
    """A reference leads to an item of a stored response, without a previous response."""
    async with responses_house(tmp_path, echo) as house, house.sdk() as sdk:
        first = await sdk.responses.create(model="tiny", input="one")
        reference = first.output[0].id
        assert reference is not None
        await sdk.responses.create(
            model="tiny",
            input=[{"type": "item_reference", "id": reference}, {"role": "user", "content": "x"}],
        )
        assert shown(house) == [("assistant", "1:one"), ("user", "x")]
        with pytest.raises(BadRequestError) as caught:
            await sdk.responses.create(model="tiny", input=[{"type": "item_reference", "id": "msg_7_0"}])
        assert caught.value.param == "input[0].id"


async def test_tenants_see_only_their_own_responses(tmp_path: Path) -> None:
    """Another key's response is not there, neither to read, nor to continue, nor to refer to."""
    async with responses_house(tmp_path, echo) as house:
        mine, theirs = house.keys.add("mine"), house.keys.add("theirs")
        async with house.sdk(mine) as sdk, house.sdk(theirs) as other:
            first = await sdk.responses.create(model="tiny", input="one")
            assert (await sdk.responses.retrieve(first.id)).id == first.id
            for attempt in (other.responses.retrieve, other.responses.delete, other.responses.cancel):
                with pytest.raises(NotFoundError):
                    await attempt(first.id)
            with pytest.raises(BadRequestError):
                await other.responses.create(model="tiny", input="x", previous_response_id=first.id)
            with pytest.raises(BadRequestError):
                await other.responses.create(
                    model="tiny", input=[{"type": "item_reference", "id": str(first.output[0].id)}]
                )


async def test_a_response_on_its_way_can_be_cancelled(tmp_path: Path) -> None:
    """The backend is let go, the stream ends with a failure, what there was is kept as cancelled."""

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(3), TextDelta(0, "Hel"), asyncio.Event(), END)

    async with responses_house(tmp_path, script) as house, house.sdk() as sdk:
        stream = await sdk.responses.create(model="tiny", input="go", stream=True)
        kinds: list[str] = []
        identifier, cancelled = "", None
        async for event in stream:
            kinds.append(event.type)
            if event.type == "response.created":
                identifier = event.response.id
            if event.type == "response.output_text.delta":
                cancelled = await sdk.responses.cancel(identifier)
        assert kinds[-1] == "response.failed"
        assert cancelled is not None
        assert cancelled.status == "cancelled"
        assert cancelled.output_text == "Hel"
        assert (await sdk.responses.retrieve(cancelled.id)).status == "cancelled"
        assert (house.backend.active, house.backend.cancelled) == (0, 1)
        with pytest.raises(BadRequestError, match="has ended"):
            await sdk.responses.cancel(cancelled.id)


async def test_a_failure_after_the_first_byte_ends_the_stream_and_is_kept(tmp_path: Path) -> None:
    """response.failed is the last event; the response can be looked up afterwards."""

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(3), TextDelta(0, "Hel"), ModelUnavailable("the worker died"))

    async with responses_house(tmp_path, script) as house, house.sdk() as sdk:
        events = [event async for event in await sdk.responses.create(model="tiny", input="go", stream=True)]
        last = events[-1]
        assert last.type == "response.failed"
        assert last.response.error is not None
        assert last.response.error.message == "the worker died"
        assert (await sdk.responses.retrieve(last.response.id)).status == "failed"


async def test_a_refusal_before_the_first_byte_keeps_nothing(tmp_path: Path) -> None:
    """It has its HTTP status, in either way of asking."""

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (ModelUnavailable("loading"),)

    async with responses_house(tmp_path, script) as house:
        for stream in (True, False):
            body = {"model": "tiny", "input": "go", "stream": stream}
            answer = await house.client.post("/v1/responses", json=body)
            assert answer.status_code == 503
        assert not house.keeper.records


async def test_silence_is_filled_with_events_that_clients_count(tmp_path: Path) -> None:
    """A long prefill sends response.in_progress again, numbered on."""
    gate = asyncio.Event()

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(3), gate, TextDelta(0, "a"), ChoiceFinished(0, "stop"), END)

    settings = ApiSettings(port=0, keepalive_seconds=0.02, shutdown_grace_seconds=0.0)
    async with responses_house(tmp_path, script, settings) as house, house.sdk() as sdk:
        numbers: list[int] = []
        pings = 0
        async for event in await sdk.responses.create(model="tiny", input="go", stream=True):
            numbers.append(event.sequence_number)
            pings += event.type == "response.in_progress"
            if pings == 3:
                gate.set()
        assert numbers == list(range(len(numbers)))
        assert pings >= 3


async def test_a_conversation_is_compacted_and_goes_on(tmp_path: Path) -> None:
    """The user's words stay, a sealed summary stands for the rest, and both are understood as input."""
    async with responses_house(tmp_path, echo) as house, house.sdk() as sdk:
        first = await sdk.responses.create(model="tiny", input="one")
        compacted = await sdk.responses.compact(model="tiny", previous_response_id=first.id)
        assert isinstance(compacted, CompactedResponse)
        assert [item.type for item in compacted.output] == ["message", "compaction"]
        output = [item.model_dump(exclude_none=True, warnings=False) for item in compacted.output]
        assert output[0]["content"][0]["text"] == "one"
        await sdk.responses.create(model="tiny", input=[*output, {"role": "user", "content": "on"}])  # type: ignore[list-item]
        assert [role for role, _ in shown(house)] == ["user", "user", "user"]
        assert "3:Summarise" in shown(house)[1][1]


async def test_input_tokens_are_counted_without_generating(tmp_path: Path) -> None:
    """The count is the prompt's, and nothing runs."""
    async with responses_house(tmp_path, echo) as house, house.sdk() as sdk:
        counted = await sdk.responses.input_tokens.count(model="tiny", input="four")
        assert counted.input_tokens == 4
        assert not house.backend.requests
        assert not house.keeper.records


async def test_ignored_fields_are_named_in_a_header(tmp_path: Path) -> None:
    """Hosted tools are skipped, and the client can know."""
    async with responses_house(tmp_path, echo) as house:
        body = {"model": "tiny", "input": "go", "tools": [{"type": "web_search"}], "truncation": "auto"}
        answer = await house.client.post("/v1/responses", json=body)
        assert answer.status_code == 200
        assert answer.headers["x-allod-ignored-fields"] == "tools.web_search, truncation"


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=a", "after")],
)
async def test_pages_of_input_items(tmp_path: Path, query: str, param: str) -> None:
    """Items are listed from either end, in pages; what is no page is refused."""
    async with responses_house(tmp_path, echo) as house, house.sdk() as sdk:
        items = [{"role": "user", "content": f"{number}"} for number in range(5)]
        first = await sdk.responses.create(model="tiny", input=items)  # type: ignore[arg-type]
        path = f"/v1/responses/{first.id}/input_items"
        page = (await house.client.get(f"{path}?limit=2&order=asc")).json()
        assert (page["has_more"], page["data"][1]["content"][0]["text"]) == (True, "1")
        rest = (await house.client.get(f"{path}?order=asc&after={page['last_id']}")).json()
        assert (rest["has_more"], len(rest["data"]), rest["data"][-1]["content"][0]["text"]) == (
            False,
            3,
            "4",
        )
        newest = (await house.client.get(f"{path}?limit=1")).json()
        assert newest["data"][0]["content"][0]["text"] == "4"
        bad = await house.client.get(f"{path}?{query}")
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, param)
