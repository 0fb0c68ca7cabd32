"""Responses over a WebSocket, with OpenAI's own client and with none."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from openai.resources.responses.responses import AsyncResponsesConnection
from tests.scaffolding.responses_house import ResponsesHouse, responses_house
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from allod.api.settings import ApiSettings
from allod.core.card import ModelCard
from allod.core.errors import ModelUnavailable
from allod.core.events import Accepted, ChoiceFinished, Finished, TextDelta
from allod.core.request import Conversation, GenerationRequest
from allod.core.usage import Timings, Usage
from allod.testing.backend import Act

END = Finished(Usage(3, 2), Timings(0.0, 0.0, 0.0))
TERMINAL = {"response.completed", "response.incomplete", "response.failed", "error"}


def echo(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
    """Say how many messages there are, and what the last one says."""
    assert isinstance(request.source, Conversation)
    messages = request.source.messages
    said = f"{len(messages)}:{messages[-1].content}"
    return (Accepted(3), TextDelta(0, said), ChoiceFinished(0, "stop"), END)


def socket(house: ResponsesHouse, **options: Any) -> connect:
    return connect(house.url.replace("http", "ws") + "/v1/responses", **options)


async def turn(connection: ClientConnection, **fields: object) -> list[dict[str, Any]]:
    """One turn's events."""
    await connection.send(json.dumps({"type": "response.create", "model": "tiny", **fields}))
    return await rest(connection)


async def rest(connection: ClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in TERMINAL:
        events.append(json.loads(await connection.recv()))
    return events


async def last_of(connection: AsyncResponsesConnection) -> Any:
    async for event in connection:
        if event.type in TERMINAL:
            return event
    raise AssertionError("the connection ended")


async def test_the_sdk_talks_in_turns(tmp_path: Path) -> None:
    """A chain of turns on one connection, with the SDK's own client."""
    async with responses_house(tmp_path, echo) as house, house.sdk() as sdk:
        async with sdk.responses.connect() as connection:
            await connection.response.create(model="tiny", input="one", store=False)
            first = await last_of(connection)
            assert first.type == "response.completed"
            assert first.response.output[0].content[0].text == "1:one"
            await connection.response.create(
                model="tiny", input="two", store=False, previous_response_id=first.response.id
            )
            second = await last_of(connection)
            assert second.response.output[0].content[0].text == "3:two"
        assert not house.keeper.records


async def test_events_are_those_of_a_stream(tmp_path: Path) -> None:
    """Kinds and numbers are what server-sent events have, without their framing."""
    async with responses_house(tmp_path, echo) as house, socket(house) as connection:
        events = await turn(connection, input="one")
        body = {"model": "tiny", "input": "one", "stream": True}
        streamed = (await house.client.post("/v1/responses", json=body)).text
        kinds = [line.removeprefix("event: ") for line in streamed.split("\n") if line.startswith("event: ")]
        assert [event["type"] for event in events] == kinds
        assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def test_turns_wait_for_one_another(tmp_path: Path) -> None:
    """One response at a time, in the order they were asked for."""
    gate = asyncio.Event()

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(3), gate, *echo(request, card)[1:])

    async with responses_house(tmp_path, script) as house, socket(house) as connection:
        for text in ("one", "two"):
            await connection.send(json.dumps({"type": "response.create", "model": "tiny", "input": text}))
        assert json.loads(await connection.recv())["type"] == "response.created"
        assert len(house.backend.requests) == 1
        gate.set()
        said = [(await rest(connection))[-1]["response"]["output"][0]["content"][0]["text"] for _ in range(2)]
        assert said == ["1:one", "1:two"]


async def test_unkept_responses_are_known_only_on_their_connection(tmp_path: Path) -> None:
    """Another connection, and HTTP, know nothing of them; kept ones everybody of the tenant knows."""
    async with responses_house(tmp_path, echo) as house, socket(house) as one, socket(house) as other:
        unkept = (await turn(one, input="a", store=False))[-1]["response"]["id"]
        kept = (await turn(one, input="b", previous_response_id=unkept))[-1]["response"]
        assert kept["output"][0]["content"][0]["text"] == "3:b"
        refused = (await turn(other, input="c", previous_response_id=unkept))[-1]
        assert refused["status"] == 400
        assert refused["error"]["code"] == "previous_response_not_found"
        alone = (await turn(one, input="d"))[-1]["response"]["id"]
        assert (await turn(other, input="e", previous_response_id=alone))[-1]["type"] == "response.completed"


async def test_a_warm_up_generates_nothing_and_can_be_continued(tmp_path: Path) -> None:
    """`generate: false` answers with an empty response whose input the next turn goes on from."""
    async with responses_house(tmp_path, echo) as house, socket(house) as connection:
        events = await turn(connection, input="context", generate=False, store=False)
        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "response.completed",
        ]
        assert not house.backend.requests
        warm = events[-1]["response"]
        assert warm["output"] == []
        answer = (await turn(connection, input="go", previous_response_id=warm["id"], store=False))[-1]
        assert answer["response"]["output"][0]["content"][0]["text"] == "2:go"


@pytest.mark.parametrize(
    ("frame", "param"),
    [
        ("{", None),
        ("[]", None),
        ('{"type":"session.update"}', "type"),
        ('{"input":"hi"}', "type"),
        ('{"type":"response.create","input":7}', "input"),
        ('{"type":"response.create","model":"none","input":"x"}', "model"),
        ('{"type":"response.create","generate":1}', "generate"),
        ('{"type":"response.create","stream_id":"a"}', "stream_id"),
        ('{"type":"response.create","background":true}', "background"),
    ],
)
async def test_a_bad_frame_is_refused_and_the_connection_lives_on(
    tmp_path: Path, frame: str, param: str | None
) -> None:
    """An exact error event, then the next turn works."""
    async with responses_house(tmp_path, echo) as house, socket(house) as connection:
        await connection.send(frame)
        error = json.loads(await connection.recv())
        assert (error["type"], error["error"]["param"]) == ("error", param)
        assert 400 <= error["status"] < 500
        assert (await turn(connection, input="one"))[-1]["type"] == "response.completed"


async def test_a_failed_turn_cannot_be_continued_from_memory(tmp_path: Path) -> None:
    """What the connection remembered of a turn that failed is forgotten, so the client starts over."""
    scripts = iter([echo, lambda request, card: (ModelUnavailable("loading"),), echo])

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return next(scripts)(request, card)

    async with responses_house(tmp_path, script) as house, socket(house) as connection:
        first = (await turn(connection, input="a", store=False))[-1]["response"]["id"]
        refused = (await turn(connection, input="b", store=False, previous_response_id=first))[-1]
        assert (refused["type"], refused["status"]) == ("error", 503)
        gone = (await turn(connection, input="b", store=False, previous_response_id=first))[-1]
        assert gone["error"]["code"] == "previous_response_not_found"


async def test_a_failure_after_the_first_event_is_the_last_event(tmp_path: Path) -> None:
    """As in a stream: response.failed."""

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(3), TextDelta(0, "Hel"), ModelUnavailable("the worker died"))

    async with responses_house(tmp_path, script) as house, socket(house) as connection:
        last = (await turn(connection, input="a"))[-1]
        assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")


async def test_leaving_ends_the_work(tmp_path: Path) -> None:
    """A client that hangs up while a turn is answered lets the backend go."""

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(3), asyncio.Event(), END)

    async with responses_house(tmp_path, script) as house:
        async with socket(house) as connection:
            await connection.send('{"type":"response.create","model":"tiny","input":"x"}')
            assert json.loads(await connection.recv())["type"] == "response.created"
        async with asyncio.timeout(5):
            while house.backend.active:  # noqa: ASYNC110 - the backend has no event for this
                await asyncio.sleep(0)
        assert house.backend.cancelled == 1


async def test_silence_is_filled(tmp_path: Path) -> None:
    """A long prefill sends response.in_progress again."""
    gate = asyncio.Event()

    def script(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(3), gate, *echo(request, card)[1:])

    settings = ApiSettings(port=0, keepalive_seconds=0.02, shutdown_grace_seconds=0.0)
    async with responses_house(tmp_path, script, settings) as house, socket(house) as connection:
        await connection.send('{"type":"response.create","model":"tiny","input":"x"}')
        kinds = [json.loads(await connection.recv())["type"] for _ in range(4)]
        assert kinds == ["response.created", *["response.in_progress"] * 3]
        gate.set()
        assert (await rest(connection))[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer {key}", "Host": "evil.example"}, 403),
        ({"Authorization": "Bearer {key}", "Origin": "https://evil.example"}, 403),
    ],
)
async def test_strangers_get_no_connection(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    """Keys, hosts and origins are checked as over HTTP, before the handshake is over."""
    async with responses_house(tmp_path, echo) as house:
        key = house.keys.add("mine")
        sent = {name: value.format(key=key) for name, value in headers.items()}
        with pytest.raises(InvalidStatus) as caught:
            async with socket(house, additional_headers=sent):
                pass
        assert caught.value.response.status_code == status
        assert json.loads(caught.value.response.body)["error"]["message"]
        assert "x-request-id" in caught.value.response.headers


async def test_friends_get_one_under_any_spelling_of_the_path(tmp_path: Path) -> None:
    """A key in either header, and the paths that clients put together."""
    async with responses_house(tmp_path, echo) as house:
        key = house.keys.add("mine")
        for path in ("/v1/responses", "/v1/v1/responses/", "//v1/responses"):
            address = house.url.replace("http", "ws") + path
            async with connect(address, additional_headers={"x-api-key": key}) as connection:
                assert connection.response is not None
                assert "x-request-id" in connection.response.headers
                assert (await turn(connection, input="hi"))[-1]["type"] == "response.completed"


async def test_a_frame_that_is_too_long_ends_the_connection(tmp_path: Path) -> None:
    """The limit of bodies holds for frames: the close code says too big."""
    settings = ApiSettings(port=0, max_body_bytes=2048, shutdown_grace_seconds=0.0)
    async with responses_house(tmp_path, echo, settings) as house, socket(house) as connection:
        await connection.send("x" * 4096)
        with pytest.raises(ConnectionClosed) as caught:
            await connection.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


async def test_other_paths_speak_no_websocket(tmp_path: Path) -> None:
    """Only the Responses API has one."""
    async with responses_house(tmp_path, echo) as house:
        with pytest.raises(InvalidStatus):
            async with connect(house.url.replace("http", "ws") + "/v1/models"):
                pass
