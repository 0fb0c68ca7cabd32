"""What a form costs: rates of streams that follow a JSON Schema against free ones, in turns.

Usage: python bench/structured.py [BASE_URL] [MODEL]. Prints JSON. Each round asks for the same number of
tokens free and in form, at 1, 4 and 8 streams; the ratio of the medians is the figure.
"""

import asyncio
import json
import platform
import statistics
import sys
import time

import openai

BASE_URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8484/v1"
MODEL = sys.argv[2] if len(sys.argv) > 2 else "smollm2-135m"
ROUNDS = 4
TOKENS = 64
STREAMS = (1, 4, 8)
NUMBERS = {
    "type": "object",
    "properties": {
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 999}, "minItems": 64}
    },
    "required": ["sizes"],
    "additionalProperties": False,
}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": NUMBERS}}}
FREE = {"extra_body": {"ignore_eos": True}}


async def rate(client: openai.AsyncOpenAI, streams: int, options: dict[str, object]) -> float:
    """Tokens per second between the first and the last token of the slowest of them."""

    async def one(index: int) -> tuple[float, float]:
        times: list[float] = []
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": f"{index}. Give me many sizes."}],
            max_tokens=TOKENS,
            temperature=0,
            stream=True,
            **options,
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                times.append(time.perf_counter())
        return times[0], times[-1]

    spans = await asyncio.gather(*map(one, range(streams)))
    begun, ended = max(first for first, _ in spans), max(last for _, last in spans)
    return streams * TOKENS / (ended - begun)


async def main() -> None:
    """Free, in form, free, in form, ..."""
    figures: dict[str, object] = {"machine": platform.machine(), "model": MODEL, "rounds": ROUNDS}
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="any", max_retries=0) as client:
        for streams in STREAMS:
            free: list[float] = []
            formed: list[float] = []
            await rate(client, streams, FORM)
            for _ in range(ROUNDS):
                free.append(await rate(client, streams, FREE))
                formed.append(await rate(client, streams, FORM))
            figures[f"{streams} streams"] = {
                "free_tokens_per_second": [round(value, 1) for value in free],
                "formed_tokens_per_second": [round(value, 1) for value in formed],
                "ratio": round(statistics.median(formed) / statistics.median(free), 3),
            }
    print(json.dumps(figures, indent=2))


asyncio.run(main())
