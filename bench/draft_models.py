"""What a draft model brings: the same answers of two servers in turns, one whose model is paired, one not.

Usage: python bench/draft_models.py PAIRED_URL PLAIN_URL MODEL [CASE...]

Prints JSON: for each case (such as "prose, greedy") the rates, the ratio of each pair, whether the texts
were the same, and what of the guesses was accepted. In the second server's home MODEL has no draft model.
`bench/deepen.py` makes a pair for machines that have none.
"""

import json
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from speculation import Question, clients_of, in_turns, machine, warm_up

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
    clients = clients_of(paired=paired_url, plain=plain_url)
    found: dict[str, object] = {}
    for case in cases or CASES:
        task, sampling = case.split(", ")
        question = Question(model, [{"role": "user", "content": TASKS[task]}], TOKENS, SAMPLINGS[sampling])
        warm_up(clients, question)
        before = guesses(paired_url, model)
        compared = in_turns(clients, question)
        after = guesses(paired_url, model)
        found[case] = compared | {
            "guessed_tokens": after[0] - before[0],
            "accepted_tokens": after[1] - before[1],
        }
    return {"machine": machine(), "model": model, "tokens": TOKENS, "cases": found}


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:]), indent=1))
