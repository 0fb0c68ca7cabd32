"""What a draft model brings: the same answers of two servers in turns, one whose model is paired, one not.

Usage: python bench/draft_models.py PAIRED_URL PLAIN_URL MODEL [CASE...]

Prints JSON: for each case (such as "prose, greedy") the rates, the ratio of each pair, whether the texts
were the same, and what of the guesses was accepted. In the second server's home MODEL has no draft model.

    python bench/draft_models.py deepen FOLDER TARGET TIMES

makes a pair for machines that have none: the checkpoint in FOLDER with so many times as many layers, of which
the additional ones add nothing. It says what FOLDER says, takes longer, and FOLDER is always right when it
drafts for it: an upper bound of what a pair can bring.
"""

import json
import platform
import re
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import mlx.core as mx
import openai

ROUNDS = 5
TOKENS = 96
TASKS: dict[str, Any] = {
    "prose": "Tell me about the river that runs through your town.",
    "explanation": "Explain why the sky is blue and the evening red, for somebody who is curious.",
    "code": "Write a Python function that tells whether a year is a leap year, with a test.",
}
SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": {"temperature": 0.7, "top_p": 0.95, "seed": 1},
}
CASES = tuple(f"{task}, {sampling}" for task in TASKS for sampling in SAMPLINGS)
ADDING = ("self_attn.o_proj", "mlp.down_proj")
"""What a layer adds to what comes in goes through these."""


def rate(client: openai.OpenAI, model: str, task: str, sampling: str) -> tuple[float, str]:
    """Tokens per second after the first, and the text."""
    times: list[float] = []
    words: list[str] = []
    tokens = 0
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": TASKS[task]}],
        max_tokens=TOKENS,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
        **SAMPLINGS[sampling],
    )
    for chunk in stream:
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.perf_counter())
            words.append(chunk.choices[0].delta.content)
    return (tokens - 1) / (times[-1] - times[0]), "".join(words)


def guesses(url: str, model: str) -> tuple[int, int]:
    """Tokens that the draft model made so far, and those that answers took."""
    try:
        answer = urlopen(f"{url}/ready", timeout=10)
    except HTTPError as error:  # another model is the one that should be there
        answer = error
    with answer:
        models = json.load(answer)["models"]
    found = next(each for each in models if each["name"] == model)
    return found["guessed_tokens"], found["accepted_guessed_tokens"]


def measure(paired_url: str, plain_url: str, model: str, *cases: str) -> dict[str, object]:
    """Ask in turns."""
    urls = {"paired": paired_url, "plain": plain_url}
    clients = {name: openai.OpenAI(base_url=f"{url}/v1", api_key="any") for name, url in urls.items()}
    found: dict[str, object] = {}
    for case in cases or CASES:
        task, sampling = case.split(", ")
        for client in clients.values():
            rate(client, model, task, sampling)  # warms up, and lets the server learn what guesses cost
        before = guesses(paired_url, model)
        rates: dict[str, list[float]] = {"paired": [], "plain": []}
        texts: set[str] = set()
        for _ in range(ROUNDS):
            for name, client in clients.items():
                measured, text = rate(client, model, task, sampling)
                rates[name].append(round(measured, 2))
                texts.add(text)
        after = guesses(paired_url, model)
        ratios = [one / other for one, other in zip(rates["paired"], rates["plain"], strict=True)]
        found[case] = {
            "tokens_per_second": rates,
            "ratio_median": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "same_text": len(texts) == 1,
            "guessed_tokens": after[0] - before[0],
            "accepted_tokens": after[1] - before[1],
        }
    machine = platform.processor() or platform.machine()
    return {"machine": machine, "model": model, "tokens": TOKENS, "cases": found}


def deepen(folder: Path, target: Path, times: int) -> None:
    """Write a checkpoint with more layers that says the same."""
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    target.mkdir()
    for path in folder.iterdir():
        if path.suffix != ".safetensors" and path.name not in ("card.json", "config.json"):
            shutil.copy(path, target)
    config["num_hidden_layers"] = times * layers
    (target / "config.json").write_text(json.dumps(config))
    weights = {
        name: array
        for path in folder.glob("model*.safetensors")
        for name, array in mx.load(str(path)).items()
    }
    deep = dict(weights)
    for name, array in weights.items():
        if (place := re.search(r"layers\.(\d+)\.", name)) is None:
            continue
        # Packed weights are zero where scales and biases are.
        is_silent = any(each in name for each in ADDING) and array.dtype != mx.uint32
        for copy in range(1, times):
            number = int(place[1]) + copy * layers
            further = f"{name[: place.start(1)]}{number}{name[place.end(1) :]}"
            deep[further] = mx.zeros_like(array) if is_silent else array
    mx.save_safetensors(str(target / "model.safetensors"), deep)


def main() -> None:
    """Measure, or make a model."""
    if sys.argv[1] == "deepen":
        deepen(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        print(json.dumps(measure(*sys.argv[1:]), indent=1))


if __name__ == "__main__":
    main()
