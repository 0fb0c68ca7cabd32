"""What a running batch costs an interactive stream: rates with and without it, in turns.

Usage: python bench/batch_priority.py [BASE_URL] [MODEL]. Prints JSON. Each round streams one answer alone
and one while a batch of many lines is on its way; the ratio of the medians is the figure, since the
machine's own noise is in both.
"""

import asyncio
import io
import json
import platform
import statistics
import sys
import time
from itertools import pairwise

import openai

BASE_URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8484/v1"
MODEL = sys.argv[2] if len(sys.argv) > 2 else "smollm2-135m"
ROUNDS = 5
TOKENS = 96
LINES = 24
LINE_TOKENS = 400
SETTLE_SECONDS = 4


async def gaps(client: openai.AsyncOpenAI) -> list[float]:
    """Seconds between the tokens of one stream."""
    times: list[float] = []
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me about the river that runs through your town."}],
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.perf_counter())
    return [later - earlier for earlier, later in pairwise(times)]


async def begun(client: openai.AsyncOpenAI) -> str:
    """Start a batch that is longer than a round, and wait until it runs."""
    body = {"model": MODEL, "max_tokens": LINE_TOKENS, "ignore_eos": True}
    lines = [
        {
            "custom_id": str(index),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body | {"messages": [{"role": "user", "content": f"Story number {index}"}]},
        }
        for index in range(LINES)
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    file = await client.files.create(file=("lines.jsonl", io.BytesIO(text)), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    await reached(client, batch.id, "in_progress")
    await asyncio.sleep(SETTLE_SECONDS)
    return batch.id


async def reached(client: openai.AsyncOpenAI, batch: str, status: str) -> None:
    """Wait until a batch has this status."""
    while (await client.batches.retrieve(batch)).status != status:  # noqa: ASYNC110 - the server's state
        await asyncio.sleep(0.1)


async def main() -> None:
    """Alone, beside a batch, alone, beside a batch, ..."""
    alone: list[float] = []
    beside: list[float] = []
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="any", max_retries=0) as client:
        await gaps(client)
        for _ in range(ROUNDS):
            alone.append(statistics.median(await gaps(client)))
            batch = await begun(client)
            beside.append(statistics.median(await gaps(client)))
            await client.batches.cancel(batch)
            await reached(client, batch, "cancelled")
    figures = {
        "machine": platform.machine(),
        "model": MODEL,
        "rounds": ROUNDS,
        "median_gap_alone_ms": [round(1000 * gap, 1) for gap in alone],
        "median_gap_beside_a_batch_ms": [round(1000 * gap, 1) for gap in beside],
        "slowdown": round(statistics.median(beside) / statistics.median(alone) - 1, 3),
    }
    print(json.dumps(figures, indent=2))


asyncio.run(main())
