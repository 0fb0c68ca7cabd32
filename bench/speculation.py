"""What speculation brings: the same answers of two servers in turns, one with it and one without.

Usage: python bench/speculation.py ON_URL OFF_URL [MODEL]. Prints JSON: for each task the rates, the ratio of
each pair, and whether the texts were the same. Start the servers with engine.speculation `auto` and `off`.
"""

import json
import platform
import statistics
import sys
import time
from dataclasses import dataclass
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


Clients = dict[str, openai.OpenAI]
"""By what their servers are called."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every server, and how it is to answer."""

    model: str
    messages: Any
    max_tokens: int
    sampling: dict[str, Any]


def rate(client: openai.OpenAI, question: Question) -> tuple[float, str]:
    """Tokens per second after the first, and the text."""
    times: list[float] = []
    words: list[str] = []
    tokens = 0
    stream = client.chat.completions.create(
        model=question.model,
        messages=question.messages,
        max_tokens=question.max_tokens,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
        **question.sampling,
    )
    for chunk in stream:
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.perf_counter())
            words.append(chunk.choices[0].delta.content)
    return (tokens - 1) / (times[-1] - times[0]), "".join(words)


def clients_of(**urls: str) -> Clients:
    """A client for each server."""
    return {name: openai.OpenAI(base_url=f"{url}/v1", api_key="any") for name, url in urls.items()}


def warm_up(clients: Clients, question: Question) -> None:
    """Ask once, and let servers learn what drafts cost."""
    for client in clients.values():
        rate(client, question)


def in_turns(clients: Clients, question: Question) -> dict[str, object]:
    """Ask two servers in turns: rates, the first one's over the second's, and whether they said the same."""
    rates: dict[str, list[float]] = {name: [] for name in clients}
    texts: set[str] = set()
    for _ in range(ROUNDS):
        for name, client in clients.items():
            measured, text = rate(client, question)
            rates[name].append(round(measured, 2))
            texts.add(text)
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    return {
        "tokens_per_second": rates,
        "ratio_median": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "same_text": len(texts) == 1,
    }


def machine() -> str:
    """What it was measured on, in words."""
    return platform.processor() or platform.machine()


def main() -> None:
    """Ask in turns and print what was found."""
    clients = clients_of(on=sys.argv[1], off=sys.argv[2])
    model = sys.argv[3] if len(sys.argv) > 3 else "smollm2-135m"
    found: dict[str, object] = {}
    for task, messages in TASKS.items():
        question = Question(model, messages, TOKENS, {"temperature": 0})
        warm_up(clients, question)
        found[task] = in_turns(clients, question)
    print(json.dumps({"machine": machine(), "model": model, "tasks": found}, indent=1))


if __name__ == "__main__":
    main()
