"""What speculation brings: the same answers of two servers in turns, one with it and one without.

Usage: python bench/speculation.py ON_URL OFF_URL [MODEL [STREAMS...]]. Prints JSON: for each task the rates,
the ratio of each pair, and whether the texts were the same; for several streams at once, their rate together
and how many texts were. Start the servers with engine.speculation `auto` and `off`.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import openai

ROUNDS = 3
TOKENS = 96
VERBS = (("add", "+", 1), ("take", "-", 2), ("double", "*", 2), ("halve", "//", 2))
NOUNS = ["apples", "pears", "plums", "figs", "nuts", "grapes", "limes", "beans", "peas", "leeks", "herbs"]


def code(place: int) -> str:
    """Some lines of Python, others for each stream."""
    nouns = [NOUNS[(place + each) % len(NOUNS)] for each in range(len(VERBS))]
    return "\n".join(
        f"def {verb}_{noun}({noun}: int) -> int:\n    return {noun} {sign} {number + place}"
        for (verb, sign, number), noun in zip(VERBS, nouns, strict=True)
    )


def asked(words: str) -> list[dict[str, str]]:
    """A conversation of one question."""
    return [{"role": "user", "content": words}]


def written_again(place: int) -> list[dict[str, str]]:
    """A file that is written once more, as agents do: even a small model does it that did it before."""
    question = asked(f"Write this file again:\n{code(place)}")
    return [*question, {"role": "assistant", "content": code(place)}, *question]


TASKS: dict[str, Callable[[int], Any]] = {
    "repeat a text": lambda place: asked(f"Repeat this code exactly:\n{code(place)}"),
    "write a file again": written_again,
    "say a list again": lambda place: asked(
        f"Count from {place + 1} to {place + 10}, again and again, one line each."
    ),
    "prose": lambda place: asked(
        f"Tell me about the {NOUNS[place]} and the river that runs through your town."
    ),
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
    return compared(rates) | {"same_text": len(texts) == 1}


def together_in_turns(clients: Clients, questions: Sequence[Question]) -> dict[str, object]:
    """Ask all at once, two servers in turns: tokens per second from the first question to the last word."""
    rates: dict[str, list[float]] = {name: [] for name in clients}
    same: list[int] = []
    for turn in range(ROUNDS + 1):
        texts: dict[str, list[str]] = {}
        for name, client in clients.items():
            started = time.perf_counter()
            with ThreadPoolExecutor(len(questions)) as pool:
                texts[name] = [text for _, text in pool.map(partial(rate, client), questions)]
            tokens = sum(question.max_tokens for question in questions)
            if turn:  # the first teaches servers what drafts cost
                rates[name].append(round(tokens / (time.perf_counter() - started), 2))
        first, second = texts.values()
        same.append(sum(one == other for one, other in zip(first, second, strict=True)))
    return compared(rates) | {"same_texts": same}


def compared(rates: dict[str, list[float]]) -> dict[str, object]:
    """What two servers did, and the first one's over the second's in each pair."""
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    return {
        "tokens_per_second": rates,
        "ratio_median": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def machine() -> str:
    """What it was measured on, in words."""
    return platform.processor() or platform.machine()


def main() -> None:
    """Ask in turns and print what was found."""
    clients = clients_of(on=sys.argv[1], off=sys.argv[2])
    model = sys.argv[3] if len(sys.argv) > 3 else "smollm2-135m"
    found: dict[str, object] = {}
    for streams in [int(each) for each in sys.argv[4:]] or [1]:
        for task, messages in TASKS.items():
            question = Question(model, messages(0), TOKENS, {"temperature": 0})
            print(f"{task}, {streams} at once", file=sys.stderr)
            if streams == 1:
                warm_up(clients, question)
                found[task] = in_turns(clients, question)
            else:
                all_of_them = [replace(question, messages=messages(place)) for place in range(streams)]
                found[f"{task}, {streams} at once"] = together_in_turns(clients, all_of_them)
    print(json.dumps({"machine": machine(), "model": model, "tasks": found}, indent=1))


if __name__ == "__main__":
    main()
