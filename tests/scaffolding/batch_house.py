"""The routes of files and batches over a keeper and a line runner that the test holds in its hands."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from fastapi import FastAPI
from openai import AsyncOpenAI
from openai.types import Batch
from starlette.types import ASGIApp, Receive, Scope, Send

from allod.api.batches import BatchRoutes
from allod.api.errors import answer_allod_error
from allod.api.exchange import Exchange, ExchangeBorder
from allod.api.files import FileRoutes
from allod.api.settings import ApiSettings
from allod.core.errors import AllodError
from allod.core.ids import RequestId, TenantId
from allod.core.ports import GroupKeeper
from allod.service.batches import BatchService
from allod.service.files import FileService
from allod.service.settings import BatchSettings
from allod.testing.keeper import MemoryKeeper

OVER = {"completed", "failed", "expired", "cancelled"}
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 3,
    "total_tokens": 8,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Call:
    endpoint: str
    body: dict[str, object]
    tenant: TenantId
    request: RequestId


@dataclass
class FakeLines:
    """Answers a line by what its body's `model` says; `hold` waits until the test opens the gate."""

    calls: list[Call] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    most: int = 0
    busy: int = 0
    cancelled: int = 0

    async def __call__(
        self, endpoint: str, body: bytes, tenant: TenantId, request: RequestId
    ) -> tuple[int, bytes]:
        call = Call(endpoint, json.loads(body), tenant, request)
        self.calls.append(call)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            if call.body["model"] == "hold":
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return self._answer(call)

    def _answer(self, call: Call) -> tuple[int, bytes]:
        match call.body["model"]:
            case "wrong":
                return (
                    400,
                    b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}',
                )
            case "broken":
                raise RuntimeError("secret")
            case "busy" if self.busy:
                self.busy -= 1
                return 503, b'{"error":{"message":"busy","type":"x","param":null,"code":null}}'
        answer = {"object": "chat.completion", "said": call.body.get("say"), "usage": USAGE}
        return 200, json.dumps(answer, indent=1).encode()


class Tenants:
    """Stands for the guard: the bearer is the tenant."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bearer = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        Exchange.of(scope).tenant = TenantId(bearer)
        await self._app(scope, receive, send)


@dataclass
class BatchHouse:
    keeper: GroupKeeper
    lines: FakeLines
    clock: Clock
    batches: BatchService
    app: ASGIApp
    pauses: list[float]

    def http(self, tenant: str = "a") -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {tenant}"}
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.app), base_url="http://test", headers=headers
        )

    def sdk(self, tenant: str = "a") -> AsyncOpenAI:
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app))
        return AsyncOpenAI(base_url="http://test/v1", api_key=tenant, max_retries=0, http_client=client)


def build(
    keeper: GroupKeeper | None = None,
    *,
    clock: Clock | None = None,
    lines: FakeLines | None = None,
    **settings: int,
) -> BatchHouse:
    clock, lines, limits = clock or Clock(), lines or FakeLines(), BatchSettings(**settings)
    keeper = keeper or MemoryKeeper(clock=clock)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    files = FileService(keeper, 30 * 86_400, clock)
    batches = BatchService(keeper, files, lines, limits, clock, pause)
    app = FastAPI(exception_handlers={AllodError: answer_allod_error})
    of_files, of_batches = FileRoutes(files, limits), BatchRoutes(batches, ApiSettings())
    app.add_api_route("/v1/files", of_files.create, methods=["POST"])
    app.add_api_route("/v1/files", of_files.list_files, methods=["GET"])
    app.add_api_route("/v1/files/{file_id}", of_files.get, methods=["GET"])
    app.add_api_route("/v1/files/{file_id}", of_files.delete, methods=["DELETE"])
    app.add_api_route("/v1/files/{file_id}/content", of_files.content, methods=["GET"])
    app.add_api_route("/v1/batches", of_batches.create, methods=["POST"])
    app.add_api_route("/v1/batches", of_batches.list_batches, methods=["GET"])
    app.add_api_route("/v1/batches/{batch_id}", of_batches.get, methods=["GET"])
    app.add_api_route("/v1/batches/{batch_id}/cancel", of_batches.cancel, methods=["POST"])
    return BatchHouse(keeper, lines, clock, batches, ExchangeBorder(Tenants(app)), pauses)


@asynccontextmanager
async def open_house(keeper: GroupKeeper | None = None, **settings: object) -> AsyncGenerator[BatchHouse]:
    house = build(keeper, **settings)  # type: ignore[arg-type]
    await house.batches.start()
    try:
        yield house
    finally:
        await house.batches.close()


def line(number: int, model: str = "m", **fields: object) -> dict[str, object]:
    body = {"model": model, "messages": [], "say": number}
    return {
        "custom_id": f"r{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
        **fields,
    }


def jsonl(*lines: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


async def begin(client: AsyncOpenAI, *lines: object) -> Batch:
    """Upload lines and start a batch of them."""
    file = await client.files.create(file=("in.jsonl", jsonl(*lines)), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


async def until(client: AsyncOpenAI, identifier: str, *statuses: str) -> Batch:
    """The batch, once it is in one of these states: over, if none is named."""
    async with asyncio.timeout(5):
        while True:
            batch = await client.batches.retrieve(identifier)
            if batch.status in (statuses or OVER):
                return batch
            await asyncio.sleep(0.001)


async def read(client: AsyncOpenAI, file: str | None) -> list[dict]:
    """The lines of an output file; none for no file."""
    if file is None:
        return []
    content = await client.files.content(file)
    return [json.loads(text) for text in content.text.splitlines()]
