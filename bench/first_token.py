"""First tokens of new prompts, and of prompts whose beginning was read before.

Usage: python bench/first_token.py URL MODEL [WORDS [REPEATS]] > first_token.json

A long text stands in the system's message with another question behind it each time, and then in the user's,
with another end. Milliseconds as `allod bench run` counts them.
"""

import asyncio
import json
import sys
from statistics import median

from allod.bench.client import Message, Target
from allod.bench.probe import probe
from allod.bench.prompts import nonce, prose

NEW_WORDS, END_WORDS = 470, 20
TOKENS = 3
PATIENCE_SECONDS = 300


def text(words):
    """So many words behind one that nobody has seen."""
    return f"{nonce()} {prose(words)}"


async def measured(url, model, words, repeats):
    """Every kind of prompt, in turn; of those that know a text, the first one reads it."""
    client = await probe(Target("server", url, (model,)), PATIENCE_SECONDS)
    document = text(words)
    kinds = {
        "new": lambda: [Message("user", text(NEW_WORDS))],
        "known system message": lambda: [Message("system", document), Message("user", text(END_WORDS))],
        "known beginning of a message": lambda: [Message("user", f"{document} {text(END_WORDS)}")],
    }
    found = {}
    for name, make in kinds.items():
        answers = [await client.ask(make(), TOKENS).answer() for _ in range(repeats + 1)]
        first, *others = [round(1000 * answer.first_seconds, 1) for answer in answers]
        last = answers[-1]
        found[name] = {
            "first_ms": first,
            "median_ms": median(others),
            "each_ms": others,
            "prompt_tokens": last.prompt_tokens,
            "cached_tokens": last.cached_tokens,
        }
    return {"model": model, "words": words, "kinds": found}


if __name__ == "__main__":
    numbers = [int(given) for given in sys.argv[3:]] + [4050, 15][len(sys.argv) - 3 :]
    print(json.dumps(asyncio.run(measured(sys.argv[1], sys.argv[2], *numbers)), indent=1))
