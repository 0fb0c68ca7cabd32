"""The routes over a real connection: addresses, errors, limits, status."""

import asyncio
import json
import logging

import pytest

from allod.core.hosting import HostedModel
from allod.core.ids import ModelName
from allod.core.messages import Status
from allod.core.step import MemoryReading


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/", "/v1/v1/models", "//v1/models", "/v1/v1//v1/models/"]
)
async def test_models_are_listed_under_every_address_clients_build(start, path: str) -> None:
    """Doubled prefixes and slashes reach the same route, without a redirect."""
    house = await start()
    response = await house.client.get(house.url + path)
    assert response.status_code == 200
    (model,) = response.json()["data"]
    assert (model["id"], model["state"]) == ("tiny", "not-loaded")


async def test_one_model_by_its_key(start) -> None:
    """A name is looked up and never a path; what is unknown is a model_not_found."""
    house = await start()
    assert (await house.client.get("/v1/models/tiny")).json()["id"] == "tiny"
    for name in ("org/tiny", "..%2f..%2fetc%2fpasswd", "tin"):
        response = await house.client.get(f"/v1/models/{name}")
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/chat", "/docs", "/redoc", "/v2/models"])
async def test_an_unknown_route_is_an_error_object(start, path: str) -> None:
    """404 has the one shape of all errors, without `detail`."""
    house = await start()
    response = await house.client.get(path)
    assert response.status_code == 404
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("HEAD", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_says_which_is_right(start, method: str, path: str, allowed: str) -> None:
    """405 carries Allow."""
    house = await start()
    response = await house.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    if method != "HEAD":
        assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models"])
async def test_head_is_get_without_a_body(start, path: str) -> None:
    """Probes with HEAD see the status and headers of GET."""
    house = await start()
    head, get = await house.client.head(path), await house.client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_the_root_says_what_it_is(start) -> None:
    """Name, version and where the description is."""
    house = await start()
    assert set((await house.client.get("/")).json()) == {"name", "version", "docs"}


async def test_the_description_is_whole(start) -> None:
    """Every reference resolves, and the bodies that are decoded elsewhere are described."""
    house = await start()
    text = (await house.client.get("/openapi.json")).text
    document = json.loads(text)
    schemas = document["components"]["schemas"]
    references = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert {"ChatCompletionRequest", "CompletionRequest", "Error"} <= references <= set(schemas)
    assert document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["required"]
    assert "HTTPValidationError" not in text


async def test_a_body_over_the_limit_is_refused_unread(start) -> None:
    """Declared or chunked, 10 MB is a 413 that names limit and setting, and the connection lives on."""
    house = await start(max_body_bytes=8 * 2**20)
    body = b" " * 10_000_000

    async def chunks():
        for place in range(0, len(body), 65_536):
            yield body[place : place + 65_536]

    headers = {"content-type": "application/json"}
    for content in (body, chunks()):
        response = await house.client.post("/v1/chat/completions", content=content, headers=headers)
        assert response.status_code == 413
        message = response.json()["error"]["message"]
        assert "api.max_body_bytes" in message
        assert str(8 * 2**20) in message
    assert (await house.client.get("/health")).status_code == 200


async def test_a_declared_length_over_the_limit_needs_no_body(start) -> None:
    """The refusal comes before the body, so nothing is held in memory."""
    house = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99999999\r\n\r\n"
    )
    async with asyncio.timeout(2):
        assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_body_at_the_limit_is_read(start) -> None:
    """The limit itself is allowed."""
    house = await start(max_body_bytes=2048)
    body = json.dumps(house.chat).encode()
    for size, status in ((2048, 200), (2049, 413)):
        response = await house.client.post(
            "/v1/chat/completions", content=body.ljust(size), headers={"content-type": "application/json"}
        )
        assert response.status_code == status


async def test_requests_without_a_model_get_the_only_one(start) -> None:
    """One model in the catalogue needs no naming; an unknown name is a 404."""
    house = await start()
    response = await house.client.post("/v1/completions", json={"prompt": "hi"})
    assert (response.status_code, response.json()["model"]) == (200, "tiny")
    unknown = await house.client.post("/v1/completions", json={"prompt": "hi", "model": "gpt"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


def _status(rows: int) -> Status:
    return Status(
        rows=rows, prefilling=0, queued=2, queued_tokens=9, reserved_bytes=0,
        memory=MemoryReading(100, 20, 150), steps=1,
    )  # fmt: skip


async def test_readiness_follows_the_model(start) -> None:
    """503 with Retry-After while it loads, 503 without once it failed, 200 with numbers when it is there."""
    house = await start()
    name = ModelName("tiny")
    assert (await house.client.get("/ready")).headers["retry-after"]
    house.host.models = [HostedModel(name, "loading", detail="weights", fraction=0.5)]
    loading = await house.client.get("/ready")
    assert (loading.status_code, loading.json()["models"][0]["fraction"]) == (503, 0.5)
    assert loading.headers["retry-after"]
    house.host.models = [HostedModel(name, "failed", detail="no space")]
    failed = await house.client.get("/ready")
    assert failed.status_code == 503
    assert "retry-after" not in failed.headers
    house.host.models = [HostedModel(name, "ready", status=_status(3))]
    ready = await house.client.get("/ready")
    assert ready.status_code == 200
    (model,) = ready.json()["models"]
    assert (model["rows"], model["queued"]) == (3, 2)
    assert model["active_bytes"] + model["buffer_bytes"] == 120


@pytest.mark.parametrize("phase", ["restarting", "failed"])
async def test_health_is_alive_even_when_degraded(start, phase) -> None:
    """A sick model is no reason to kill the server: the status is 200 and says so."""
    house = await start()
    house.host.models = [HostedModel(ModelName("tiny"), phase, restarts=2)]
    response = await house.client.get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["models"][0]["restarts"] == 2


async def test_the_access_log_keeps_metadata_only(start, caplog) -> None:
    """Method, path, status, time and tokens; no query, body, key or line break of the client's."""
    caplog.set_level(logging.INFO)
    house = await start()
    headers = {"authorization": "Bearer a-secret-key"}
    body = {"messages": [{"role": "user", "content": "hi there"}]}
    await house.client.post("/v1/chat/completions?token=private", json=body, headers=headers)
    await house.client.get("/v1/models/%0Aforged")
    first, second = [record.getMessage() for record in caplog.records if record.name == "allod.access"]
    assert first.startswith("POST /v1/chat/completions 200 ")
    assert "tokens=3+2" in first
    assert "\n" not in second
    for private in ("private", "a-secret-key", "hi there", "Hello"):
        assert private not in first + second


async def test_a_websocket_is_not_spoken(start) -> None:
    """An upgrade is treated as the plain request it is."""
    house = await start()
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "x",
    }
    assert (await house.client.get("/v1/models", headers=headers)).status_code == 200
