"""What many clients at once feel of the gateway: a crowd, probes beside a full load, and clients that leave.

Usage: python bench/gateway_clients.py. Prints JSON.

A real gateway over a worker without a model. `probes` are GET /health and /v1/models, one after the other
on one connection, from a process of their own, beside what else goes on: 32 streams as fast as the worker
speaks (`flood`) or as a fast model does (`paced`), with conversations of LONG_BYTES arriving one after the
other, or with bodies that hold a picture of PICTURE_BYTES, which a model that reads text only refuses. Of
ROUNDS the best is shown, and of all the 99th percentile: clients, worker and gateway share the machine.
`leavers` is the time from a client's hanging up to the worker's being told.
"""

import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.scaffolding.clients import many_descriptors, reply_of, request_bytes
from tests.scaffolding.paced_gateway import MODEL, PacedGateway, paced_gateway
from tests.scaffolding.probe import answer_times

CHAT = "/v1/chat/completions"
CROWD = 1000
LEAVERS = 500
LONG_BYTES = 200_000
PICTURE_BYTES = 30 * 2**20
PROBES = 250
ROUNDS = 3


def asked(content: object = "hi", **fields: object) -> bytes:
    """A streamed conversation."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "stream": True, **fields}
    return request_bytes(CHAT, body)


def with_picture() -> bytes:
    """A conversation with a picture, as clients send a screenshot."""
    address = "data:image/png;base64," + b64encode(bytes(PICTURE_BYTES)).decode()
    picture = {"type": "image_url", "image_url": {"url": address}}
    return asked([{"type": "text", "text": "What is it?"}, picture], max_tokens=1)


def summary(times_ms: list[float]) -> dict[str, float]:
    """What matters of many times."""
    cuts = statistics.quantiles(times_ms, n=100)
    shown = {"p50_ms": cuts[49], "p99_ms": cuts[98], "longest_ms": max(times_ms)}
    return {name: round(value, 2) for name, value in shown.items()} | {"count": len(times_ms)}


# ---------------------------------------------------------------- loads


async def again_and_again(
    gateway: PacedGateway, request: bytes, pause_seconds: float, count: list[int]
) -> None:
    """Ask, one after the other."""
    while True:
        await reply_of(gateway.port, request)
        count[0] += 1
        await asyncio.sleep(pause_seconds)


async def reading(gateway: PacedGateway) -> None:
    """One stream, read to its end and begun again."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        try:
            writer.write(asked(max_tokens=900_000))
            while await reader.read(1 << 20):
                pass
        finally:
            writer.close()


async def under_load(folder: Path, pace: float, streams: int, arriving: bytes | None) -> dict[str, Any]:
    """Probes beside streams, and beside requests that arrive one after the other."""
    arrived = [0]
    with paced_gateway(folder, "--step-seconds", str(pace)) as gateway:
        loads = [asyncio.create_task(reading(gateway)) for _ in range(streams)]
        if arriving is not None:
            loads.append(asyncio.create_task(again_and_again(gateway, arriving, 0.05, arrived)))
        await asyncio.sleep(1)
        found = [
            {path: summary(times) for path, times in (await answer_times(gateway.port, PROBES)).items()}
            for _ in range(ROUNDS)
        ]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.sleep(0.1)  # the loop has to close their connections
    best = min(found, key=lambda round_: max(path["p99_ms"] for path in round_.values()))
    p99 = [max(path["p99_ms"] for path in round_.values()) for round_ in found]
    return {**best, "p99_ms_of_each_round": p99, "requests_that_arrived": arrived[0]}


# ---------------------------------------------------------------- crowds and leavers


async def crowd(folder: Path) -> dict[str, Any]:
    """So many clients at once, and when the last one had its answer."""
    with many_descriptors(), paced_gateway(folder, "--step-seconds", "0.005") as gateway:
        before, started = gateway.cpu(), time.perf_counter()
        replies = await asyncio.gather(
            *(reply_of(gateway.port, asked(max_tokens=4)) for _ in range(CROWD)), return_exceptions=True
        )
        seconds = time.perf_counter() - started
        spent = sum(gateway.cpu()) - sum(before)
    served = sum(not isinstance(reply, BaseException) and reply.status == 200 for reply in replies)
    broken = sum(isinstance(reply, BaseException) for reply in replies)
    return {
        "clients": CROWD,
        "served": served,
        "broken": broken,
        "seconds": round(seconds, 2),
        "gateway_cpu_ms_per_request": round(spent / CROWD * 1000, 2),
    }


async def leavers(folder: Path) -> dict[str, float]:
    """From hanging up to the worker's being told, one client after the other."""
    cancels = folder / "cancels"
    cancels.touch()
    waits: list[float] = []
    with paced_gateway(folder, "--step-seconds", "0.002", "--cancels", str(cancels)) as gateway:
        for number in range(LEAVERS):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(asked(max_tokens=900_000))
            await reader.readuntil(b'"content":" ')
            left = time.monotonic()
            writer.close()
            while len(noted := cancels.read_text().split()) <= number:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            waits.append((float(noted[number]) - left) * 1000)
    return summary(waits)


async def main() -> None:
    """Everything, one after the other."""
    found: dict[str, Any] = {"command": "python bench/gateway_clients.py", "machine": platform.platform()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long = asked("word " * (LONG_BYTES // 5), max_tokens=1)
        found["crowd"] = await crowd(folder)
        found["leavers"] = await leavers(folder)
        found["probes"] = {
            "paced": await under_load(folder, 0.01, 32, None),
            "flood": await under_load(folder, 0.0, 32, None),
            "paced, long prompts": await under_load(folder, 0.01, 32, long),
            "flood, long prompts": await under_load(folder, 0.0, 32, long),
            "paced, pictures": await under_load(folder, 0.01, 32, with_picture()),
        }
    print(json.dumps(found, indent=2))


asyncio.run(main())
