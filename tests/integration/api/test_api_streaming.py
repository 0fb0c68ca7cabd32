"""Answers over a real connection: streams, silence, faults, and clients that leave."""

import asyncio
import json
import logging
import socket

import openai
import pytest

from allod.core.errors import Busy, ContextLengthExceeded, ModelUnavailable
from allod.core.events import Accepted, ChoiceFinished, Failed, Finished, Progress, TextDelta
from allod.core.usage import Timings, Usage
from allod.wire.sse import SseParser

ACCEPTED = Accepted(3)
ENDING = (ChoiceFinished(0, "stop"), Finished(Usage(3, 2), Timings(0.0, 0.0, 0.0)))
QUICK = (ACCEPTED, *ENDING)


def sdk(house) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0)


def request_bytes(house, **fields: object) -> bytes:
    body = json.dumps({**house.chat, **fields}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_until(reader: asyncio.StreamReader, wanted: bytes) -> bytes:
    async with asyncio.timeout(5):
        return await reader.readuntil(wanted)


# ---------------------------------------------------------------- answers


async def test_a_stream_is_what_the_sdk_expects(start) -> None:
    """Text arrives in order, one id throughout, usage last when it was asked for."""
    house = await start()
    async with sdk(house) as client:
        stream = await client.chat.completions.create(
            **house.chat, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello"
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 5


async def test_whole_answers_are_what_the_sdk_expects(start) -> None:
    """Both routes answer in their own shape."""
    house = await start()
    async with sdk(house) as client:
        chat = await client.chat.completions.create(**house.chat)
        completion = await client.completions.create(model="tiny", prompt="hi")
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == ("Hello", "stop")
    assert completion.usage is not None
    assert (completion.choices[0].text, completion.usage.completion_tokens) == ("Hello", 2)


async def test_the_headers_of_a_stream(start) -> None:
    """No cache, no proxy buffer, an id, and the fields that had no effect."""
    house = await start()
    body = {**house.chat, "stream": True, "store": True, "x\r\nset-cookie: a": 1}
    response = await house.client.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-request-id"].startswith("req-")
    assert "store" in response.headers["x-allod-ignored-fields"]
    assert "set-cookie" not in response.headers
    whole = await house.client.post("/v1/chat/completions", json={**house.chat, "store": True})
    assert whole.headers["x-allod-ignored-fields"] == "store"
    plain = await house.client.post("/v1/chat/completions", json=house.chat)
    assert "x-allod-ignored-fields" not in plain.headers


async def test_headers_leave_with_the_first_event(start) -> None:
    """A long prefill does not hold the status back."""
    gate = asyncio.Event()
    house = await start(lambda request, card: (ACCEPTED, gate))
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(request_bytes(house, stream=True))
    assert b" 200 " in await read_until(reader, b"\r\n\r\n")
    writer.close()


async def test_a_silent_stream_is_kept_alive_by_the_clock(start, answer) -> None:
    """Comments come during a long prefill, even while progress that shows nothing goes on, and parse away."""
    gates = [asyncio.Event() for _ in range(5)]
    prefill = [act for gate in gates for act in (gate, Progress(1, 3))]
    house = await start(lambda request, card: (ACCEPTED, *prefill, *answer[1:]), keepalive_seconds=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    clock = asyncio.get_running_loop().time
    started_seconds = clock()
    writer.write(request_bytes(house, stream=True))
    for gate in gates:
        await read_until(reader, b": ping\n\n")
        gate.set()
    assert clock() - started_seconds >= 0.9 * len(gates) * 0.05, "comments come no faster than they are due"
    rest = await read_until(reader, b"data: [DONE]\n\n")
    assert b"Hel" in rest
    writer.close()


async def test_the_sdk_skips_keepalive_comments(start, answer, until) -> None:
    """A client sees the text only."""
    gate = asyncio.Event()
    house = await start(lambda request, card: (ACCEPTED, gate, *answer[1:]), keepalive_seconds=0.01)
    asyncio.get_running_loop().call_later(0.1, gate.set)
    async with sdk(house) as client:
        stream = await client.chat.completions.create(**house.chat, stream=True)
        text = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(text) == "Hello"


async def test_a_busy_stream_carries_no_comments(start) -> None:
    """What is ready leaves together, and silence is measured between bytes only."""
    deltas = [TextDelta(0, "x")] * 500
    house = await start(lambda request, card: (ACCEPTED, *deltas, *ENDING), keepalive_seconds=30)
    response = await house.client.post("/v1/chat/completions", json={**house.chat, "stream": True})
    assert b": ping" not in response.content
    parser = SseParser()
    assert len(parser.feed(response.content)) == 1 + 500 + 1 + 1
    assert parser.flush() == 0


async def test_a_hundred_streams_at_once_do_not_mix(start, until) -> None:
    """Every client gets its own answer, whole, and nothing stays behind."""
    gate = asyncio.Event()

    def script(request, card):
        (message,) = request.source.messages
        return (ACCEPTED, gate, *[TextDelta(0, f"{message.content} ")] * 5, *ENDING)

    house = await start(script)

    async def ask(number: int) -> str:
        stream = await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": f"n{number}"}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async with sdk(house) as client:
        asking = [asyncio.create_task(ask(number)) for number in range(100)]
        await until(lambda: house.backend.active == 100, 20)
        gate.set()
        answers = await asyncio.gather(*asking)
    assert answers == [f"n{number} " * 5 for number in range(100)]
    assert (house.backend.active, house.backend.cancelled) == (0, 0)


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "status"),
    [(ContextLengthExceeded("too long", param="messages"), 400), (Busy("full", retry_after_seconds=7), 503)],
)
async def test_an_error_before_the_first_event_has_its_status(start, stream, error, status) -> None:
    """Streamed or not, what is refused is a JSON error, with Retry-After where that is known."""
    house = await start(lambda request, card: (error,))
    response = await house.client.post("/v1/chat/completions", json={**house.chat, "stream": stream})
    assert response.status_code == status
    assert response.json()["error"]["code"] == error.code
    assert response.headers.get("retry-after") == ("7" if status == 503 else None)
    assert house.backend.active == 0


async def test_an_error_in_the_middle_is_an_error_to_the_sdk(start) -> None:
    """The text so far arrives, then the SDK raises; no end marker pretends that all is well."""
    failure = ModelUnavailable("the worker died")
    house = await start(lambda request, card: (ACCEPTED, TextDelta(0, "Hel"), failure))
    text: list[str] = []

    async def read(stream: openai.AsyncStream) -> None:
        async for chunk in stream:
            text.append(chunk.choices[0].delta.content or "")

    async with sdk(house) as client:
        stream = await client.chat.completions.create(**house.chat, stream=True)
        with pytest.raises(openai.APIError, match="the worker died"):
            await read(stream)
    assert "".join(text) == "Hel"
    raw = await house.client.post("/v1/chat/completions", json={**house.chat, "stream": True})
    assert b"[DONE]" not in raw.content


async def test_an_error_in_the_middle_of_a_whole_answer_has_its_status(start) -> None:
    """Nothing was sent yet, so the status can still tell."""
    house = await start(lambda request, card: (ACCEPTED, TextDelta(0, "Hel"), Failed(Busy("gone"))))
    response = await house.client.post("/v1/chat/completions", json=house.chat)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "queue_full")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_fault_of_ours_is_logged_and_told_by_number_only(start, rude, caplog, stream: bool) -> None:
    """500 with the request's id; the log has the traceback, and never the body."""
    house = await start(rude(error=RuntimeError("secret detail")))
    body = {**house.chat, "messages": [{"role": "user", "content": "private words"}], "stream": stream}
    response = await house.client.post("/v1/chat/completions", json=body)
    assert response.status_code == 500
    message = response.json()["error"]["message"]
    assert response.headers["x-request-id"] in message
    assert "secret detail" not in message
    assert "secret detail" in caplog.text
    assert "private words" not in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("secret detail"), None])
async def test_a_fault_of_ours_in_the_middle_is_an_error_event(start, rude, caplog, error) -> None:
    """A backend that breaks or just stops cannot pass for one that finished."""
    house = await start(rude(ACCEPTED, TextDelta(0, "Hel"), error=error))
    response = await house.client.post("/v1/chat/completions", json={**house.chat, "stream": True})
    assert response.status_code == 200
    last = SseParser().feed(response.content)[-1]
    assert json.loads(last)["error"]["code"] == "internal_error"
    assert b"[DONE]" not in response.content
    assert b"secret" not in response.content
    assert any(record.exc_info for record in caplog.records)


# ---------------------------------------------------------------- clients that leave


@pytest.mark.parametrize("acts", [(), (ACCEPTED,), (ACCEPTED, TextDelta(0, "Hel"))])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("rudely", [True, False])
async def test_a_client_that_leaves_ends_the_work(start, until, caplog, acts, stream, rudely) -> None:
    """Before the first event, in the middle, or without a stream: within a second the iterator is closed."""
    caplog.set_level(logging.INFO)
    house = await start(lambda request, card: (*acts, asyncio.Event()))
    _, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(request_bytes(house, stream=stream))
    await until(lambda: house.backend.active == 1)
    if rudely:
        writer.transport.abort()
    else:
        writer.close()
    await until(lambda: house.backend.cancelled == 1)
    assert house.backend.active == 0
    await until(lambda: "abandoned" in caplog.text)
    assert "Traceback" not in caplog.text
    assert all(record.levelno <= logging.INFO for record in caplog.records)


async def test_a_client_that_leaves_while_sending_starts_nothing(start, until, caplog) -> None:
    """Half a body is no request."""
    caplog.set_level(logging.INFO)
    house = await start()
    _, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(request_bytes(house)[:-5])
    await writer.drain()
    writer.close()
    await until(lambda: "abandoned" in caplog.text)
    assert " 499 " in caplog.text
    assert house.backend.requests == []


async def test_the_sdk_can_stop_reading(start, until) -> None:
    """Closing a stream object is leaving."""
    house = await start(lambda request, card: (ACCEPTED, TextDelta(0, "Hel"), asyncio.Event()))
    async with sdk(house) as client:
        stream = await client.chat.completions.create(**house.chat, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        await until(lambda: house.backend.cancelled == 1)


async def test_a_slow_reader_holds_nobody_up(start, until) -> None:
    """The events of one client who does not read are taken all the same, and others are answered."""
    big = "x" * 65_536
    house = await start(
        lambda request, card: (
            (ACCEPTED, *[TextDelta(0, big)] * 200, *ENDING) if request.choices == 2 else QUICK
        )
    )
    _, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(request_bytes(house, stream=True, n=2))
    await until(lambda: len(house.backend.requests) == 1 and house.backend.active == 0, 5)
    response = await house.client.post("/v1/chat/completions", json=house.chat)
    assert response.status_code == 200
    writer.transport.abort()


# ---------------------------------------------------------------- the end


async def test_open_answers_may_finish_in_their_grace(start, until) -> None:
    """A stop accepts no more, and lets what is open come to its end."""
    gate = asyncio.Event()
    house = await start(lambda request, card: (ACCEPTED, gate, *ENDING), shutdown_grace_seconds=20)
    body = {**house.chat, "stream": True}
    asking = asyncio.create_task(house.client.post("/v1/chat/completions", json=body))
    await until(lambda: house.backend.active == 1)
    house.server.stop()
    await until(lambda: _refuses(house.port), 5)
    gate.set()
    assert b"[DONE]" in (await asking).content
    await house.serving


@pytest.mark.parametrize("stream", [True, False])
async def test_after_the_grace_answers_end_with_an_error(start, until, stream: bool) -> None:
    """A stream gets an error event without an end marker, a whole answer a 503; the backend is told."""
    house = await start(lambda request, card: (ACCEPTED, asyncio.Event()), shutdown_grace_seconds=0.05)
    body = {**house.chat, "stream": stream}
    asking = asyncio.create_task(house.client.post("/v1/chat/completions", json=body))
    await until(lambda: house.backend.active == 1)
    house.server.stop()
    response = await asking
    assert response.status_code == (200 if stream else 503)
    data = SseParser().feed(response.content)[-1] if stream else response.content
    assert json.loads(data)["error"]["code"] == "model_unavailable"
    await house.serving
    assert (house.backend.active, house.backend.cancelled) == (0, 1)


async def test_a_second_signal_ends_the_grace(start, until) -> None:
    """Who asks twice does not want to wait, and the answer still ends in order."""
    house = await start(lambda request, card: (ACCEPTED, asyncio.Event()), shutdown_grace_seconds=600)
    asking = asyncio.create_task(
        house.client.post("/v1/chat/completions", json={**house.chat, "stream": True})
    )
    await until(lambda: house.backend.active == 1)
    house.server.stop()
    await until(lambda: _refuses(house.port), 5)
    house.server.stop()
    last = SseParser().feed((await asking).content)[-1]
    assert json.loads(last)["error"]["code"] == "model_unavailable"
    await house.serving


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
