"""The OpenAPI document itself: sound, complete, and true of its own examples."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.definitions import OPENAPI_31
from tests.integration.api.conftest import ANSWER, card
from tests.scaffolding.app import composed
from tests.scaffolding.shapes import check

from allod.testing.backend import FakeBackend
from allod.testing.models import tiny_card
from allod.testing.prompts import BytePromptReader
from allod.wire.sse import SseParser

JSON = "application/json"
STREAM = "text/event-stream"
SCHEMAS = "#/components/schemas/"
EMBEDS = tiny_card("all-minilm-l6-v2", purpose="embedding")


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    backend = FakeBackend(lambda request, card: ANSWER)
    return composed(tmp_path, backend, BytePromptReader(), card("smollm2-135m"), EMBEDS)


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    """As clients see it, after JSON."""
    return json.loads(json.dumps(app.openapi()))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        yield client


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from references(part)


def bodies(operation: dict[str, Any]) -> Iterator[Any]:
    """The examples of a JSON body."""
    media = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
    if "example" in media:
        yield media["example"]
    yield from (one["value"] for one in media.get("examples", {}).values())


def test_the_document_is_sound(document: dict[str, Any]) -> None:
    """It follows OpenAPI 3.1; every schema is JSON Schema; every reference leads somewhere."""
    assert list(Draft202012Validator(OPENAPI_31).iter_errors(document)) == []
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema, name
    known = {SCHEMAS + name for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_the_document_is_complete(app: FastAPI, document: dict[str, Any]) -> None:
    """Every route is in it, with words, answers, errors, parameters, and a body where it reads one."""
    routes = {
        (method.lower(), route.path.replace(":path}", "}"))
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    described = {(method, path) for method, path, _ in operations(document)}
    assert described == routes
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        assert operation["description"].strip(), where
        assert set(operation["responses"]) == {"200", "default"}, where
        for answer in operation["responses"].values():
            assert answer["content"], where
        for parameter in operation.get("parameters", ()):
            assert parameter["description"].strip(), f"{where}: {parameter['name']}"
        asks = "requestBody" in operation
        assert asks == (method == "post" and not path.endswith("/cancel")), where
        if asks and JSON in operation["requestBody"]["content"]:
            assert list(bodies(operation)), where
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_twins_are_alike(document: dict[str, Any]) -> None:
    """What is served under two addresses is described the same under both."""
    paths = document["paths"]
    pairs = {
        "/api/v0/chat/completions": "/v1/chat/completions",
        "/api/v0/completions": "/v1/completions",
        "/tokenize": "/v1/tokenize",
        "/detokenize": "/v1/detokenize",
        "/rerank": "/v1/rerank",
    }
    for one, other in pairs.items():
        for part in ("requestBody", "responses"):
            assert paths[one]["post"][part] == paths[other]["post"][part]


async def test_every_example_works(document: dict[str, Any], client: httpx2.AsyncClient) -> None:
    """Each example follows its schema and gets an answer that follows its own; streamed too."""
    asked = 0
    for method, path, operation in operations(document):
        for example in bodies(operation):
            file = {"input_file_id": await uploaded(client)} if path == "/v1/batches" else {}
            body = {**example, **file}
            schema = operation["requestBody"]["content"][JSON]["schema"]
            Draft202012Validator({**schema, "components": document["components"]}).validate(body)
            answer = await client.request(method, path, json=body)
            assert answer.status_code == 200, f"{method} {path}: {answer.text}"
            answers = operation["responses"]["200"]["content"]
            expected = {**answers[JSON]["schema"], "components": document["components"]}
            Draft202012Validator(expected).validate(answer.json())
            asked += 1
            if STREAM in answers:
                told = answers[STREAM]["schema"]["properties"]["data"]["anyOf"][0]["contentSchema"]
                await check_stream(client, path, body, told["$ref"].removeprefix(SCHEMAS))
    assert asked > 10


async def uploaded(client: httpx2.AsyncClient) -> str:
    turn = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": turn}
    files = {"file": ("lines.jsonl", json.dumps(line).encode())}
    answer = await client.post("/v1/files", files=files, data={"purpose": "batch"})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def check_stream(client: httpx2.AsyncClient, path: str, body: dict[str, Any], name: str) -> None:
    answer = await client.post(path, json={**body, "stream": True})
    assert answer.headers["content-type"].partition(";")[0] == STREAM
    events = SseParser().feed(answer.content)
    assert events
    for event in events:
        if event != b"[DONE]":
            check(name, json.loads(event))


async def test_errors_are_as_described(client: httpx2.AsyncClient, document: dict[str, Any]) -> None:
    """A refusal has the form that its route describes, in the words of who asks."""
    for method, path, operation in operations(document):
        if "requestBody" not in operation:
            continue
        schema = operation["responses"]["default"]["content"][JSON]["schema"]
        answer = await client.request(method, path, content=b"{", headers={"content-type": JSON})
        assert answer.status_code == 400, path
        check(schema["$ref"].removeprefix(SCHEMAS), answer.json())
    for headers, name in (({}, "Error"), ({"anthropic-version": "2023-06-01"}, "AnthropicError")):
        answer = await client.get("/v1/models/none", headers=headers)
        assert answer.status_code == 404
        check(name, answer.json())
    for headers, name in (({}, "ModelList"), ({"anthropic-version": "2023-06-01"}, "AnthropicModelList")):
        check(name, (await client.get("/v1/models", headers=headers)).json())
    check("LMStudioModelList", (await client.get("/api/v0/models")).json())
