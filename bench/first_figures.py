"""Time to first token, rate at 1, 8 and 16 streams, and the longest stall of a stream beside a long prompt.

Usage: python bench/first_figures.py [BASE_URL] [MODEL]. Prints JSON. End to end, from the client's side;
the client shares the machine's cores. One warm-up, then one run of each: a first look, not a comparison.
"""

import asyncio
import json
import platform
import sys
import time
from itertools import pairwise

import openai

BASE_URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8484/v1"
MODEL = sys.argv[2] if len(sys.argv) > 2 else "smollm2-135m"
SHORT = "Tell me about the river that runs through your town."
TOKENS = 48


async def arrivals(client: openai.AsyncOpenAI, text: str, tokens: int) -> tuple[float, list[float]]:
    """When the request left, and when each chunk with text came."""
    started = time.perf_counter()
    times: list[float] = []
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": text}],
        max_tokens=tokens,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.perf_counter())
    return started, times


async def streams(client: openai.AsyncOpenAI, count: int) -> dict[str, float]:
    """Rates of `count` streams at once, prefill included and between tokens only."""
    results = await asyncio.gather(*(arrivals(client, f"{index}. {SHORT}", TOKENS) for index in range(count)))
    first = min(started for started, _ in results)
    last = max(times[-1] for _, times in results)
    gaps = [later - earlier for _, times in results for earlier, later in pairwise(times)]
    gaps.sort()
    return {
        "end_to_end_tokens_per_second": round(count * TOKENS / (last - first), 1),
        "median_gap_ms": round(1000 * gaps[len(gaps) // 2], 1),
        "longest_gap_ms": round(1000 * gaps[-1], 1),
    }


async def stall(client: openai.AsyncOpenAI) -> dict[str, float]:
    """A stream decodes while a 1,200-word prompt arrives."""
    decoding = asyncio.create_task(arrivals(client, SHORT, 300))
    await asyncio.sleep(3)
    started, times = await arrivals(client, "river " * 1200, 1)
    finished = time.perf_counter()
    _, all_times = await decoding
    during = [later - earlier for earlier, later in pairwise(all_times) if started < later < finished]
    return {
        "longest_gap_ms": round(1000 * max(during), 1),
        "newcomer_first_token_seconds": round((times[0] if times else finished) - started, 2),
    }


async def main() -> None:
    """Measure and print."""
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="none", max_retries=0, timeout=600) as client:
        await arrivals(client, SHORT, 8)
        started, times = await arrivals(client, SHORT, 8)
        figures = {
            "machine": platform.processor() or platform.machine(),
            "model": MODEL,
            "first_token_ms": round(1000 * (times[0] - started), 1),
            "streams": {str(count): await streams(client, count) for count in (1, 8, 16)},
            "long_prompt_beside_a_stream": await stall(client),
        }
    print(json.dumps(figures, indent=2))


asyncio.run(main())
