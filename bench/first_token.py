"""First tokens of new prompts, and of prompts whose beginning was read before.

Usage: python bench/first_token.py URL MODEL [WORDS [REPEATS]] > first_token.json

Words are picked at random, so that nothing but what is to be known is known. A long text stands in the
system's message with another question behind it each time, and then in the user's, with another end.
Milliseconds from sending a request on an open connection to the first delta with text.
"""

import http.client
import json
import random
import sys
import time
from statistics import median
from urllib.parse import urlsplit

WORDS = [
    "apple",
    "river",
    "stone",
    "window",
    "garden",
    "silver",
    "people",
    "under",
    "where",
    "letter",
    "number",
    "simple",
    "market",
    "house",
]
NEW_WORDS, END_WORDS = 485, 30


def text(count):
    """So many words, in an order that nobody has seen."""
    return " ".join(random.choice(WORDS) for _ in range(count))


def ask(url, model, messages):
    """(milliseconds to the first token, what the server says it read)."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=300)
    connection.connect()
    wish = {"model": model, "messages": messages, "max_tokens": 3, "temperature": 0, "stream": True}
    body = json.dumps(wish | {"stream_options": {"include_usage": True}})
    started = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    first, usage = None, None
    for line in connection.getresponse():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        if first is None and any(choice["delta"].get("content") for choice in event.get("choices", ())):
            first = 1000 * (time.perf_counter() - started)
    connection.close()
    return first, usage


def measured(url, model, words, repeats):
    """Every kind of prompt, in turn; of those that know a text, the first one reads it."""
    document = text(words)
    kinds = {
        "new": lambda: [("user", text(NEW_WORDS))],
        "known system message": lambda: [("system", document), ("user", text(END_WORDS))],
        "known beginning of a message": lambda: [("user", f"{document} {text(END_WORDS)}")],
    }
    found = {}
    for name, make in kinds.items():
        asked = [
            ask(url, model, [{"role": role, "content": content} for role, content in make()])
            for _ in range(repeats + 1)
        ]
        milliseconds = [round(each, 1) for each, _ in asked]
        found[name] = {
            "first_ms": milliseconds[0],
            "median_ms": median(milliseconds[1:]),
            "each_ms": milliseconds[1:],
            "usage": asked[-1][1],
        }
    return {"model": model, "words": words, "kinds": found}


if __name__ == "__main__":
    numbers = [int(given) for given in sys.argv[3:]] + [4050, 15][len(sys.argv) - 3 :]
    print(json.dumps(measured(sys.argv[1], sys.argv[2], *numbers), indent=1))
