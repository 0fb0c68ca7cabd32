"""What speculation brings: the same answers of two servers in turns, one with it and one without.

Usage: python bench/speculation.py ON_URL OFF_URL [MODEL]. Prints JSON: for each task the rates, the ratio of
each pair, and whether the texts were the same. Start the servers with engine.speculation `auto` and `off`.
"""

import json
import platform
import statistics
import sys
import time
from typing import Any

import openai

ROUNDS = 5
TOKENS = 160
CODE = "\n".join(
    f"def {verb}_{noun}({noun}: int) -> int:\n    return {noun} {sign} {number}"
    for verb, noun, sign, number in (
        ("add", "apples", "+", 1),
        ("take", "pears", "-", 2),
        ("double", "plums", "*", 2),
        ("halve", "figs", "//", 2),
    )
)
TASKS: dict[str, Any] = {
    "repeat a text": [{"role": "user", "content": f"Repeat this code exactly:\n{CODE}"}],
    "say a list again": [
        {"role": "user", "content": "Count from one to ten, again and again, one line each."}
    ],
    "prose": [{"role": "user", "content": "Tell me about the river that runs through your town."}],
}


def rate(client: openai.OpenAI, model: str, task: str) -> tuple[float, str]:
    """Tokens per second after the first, and the text."""
    times: list[float] = []
    words: list[str] = []
    tokens = 0
    stream = client.chat.completions.create(
        model=model,
        messages=TASKS[task],
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    for chunk in stream:
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.perf_counter())
            words.append(chunk.choices[0].delta.content)
    return (tokens - 1) / (times[-1] - times[0]), "".join(words)


def main() -> None:
    """Ask in turns and print what was found."""
    urls = {"on": sys.argv[1], "off": sys.argv[2]}
    model = sys.argv[3] if len(sys.argv) > 3 else "smollm2-135m"
    clients = {name: openai.OpenAI(base_url=f"{url}/v1", api_key="any") for name, url in urls.items()}
    found: dict[str, object] = {}
    for task in TASKS:
        for client in clients.values():
            rate(client, model, task)  # warms up, and lets the server learn what drafts cost
        rates: dict[str, list[float]] = {"on": [], "off": []}
        texts: set[str] = set()
        for _ in range(ROUNDS):
            for name, client in clients.items():
                measured, text = rate(client, model, task)
                rates[name].append(round(measured, 2))
                texts.add(text)
        ratios = [on / off for on, off in zip(rates["on"], rates["off"], strict=True)]
        found[task] = {
            "tokens_per_second": rates,
            "ratio_median": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "same_text": len(texts) == 1,
        }
    print(
        json.dumps(
            {"machine": platform.processor() or platform.machine(), "model": model, "tasks": found}, indent=1
        )
    )


if __name__ == "__main__":
    main()
