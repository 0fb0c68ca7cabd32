"""One stream alone: the first token of a prompt never seen and of the same prompt again, and the rates."""

from collections.abc import Sequence
from functools import partial

from allod.bench.client import Client
from allod.bench.prompts import nonce, question
from allod.bench.scenarios.base import Case, Sizing, Take

NAME = "single"


def cases(sizing: Sizing) -> Sequence[Case]:
    """One case."""
    return (Case(NAME, "one stream", 1, partial(_measure, sizing)),)


async def _measure(sizing: Sizing, client: Client) -> Take:
    tokens = sizing.settings.max_tokens
    prompt = question(sizing.words(sizing.settings.prompt_words, tokens), nonce())
    cold = await client.say(prompt, tokens).answer()
    warm = await client.say(prompt, tokens).answer()
    return Take(
        {
            "cold_first_seconds": cold.first_seconds,
            "warm_first_seconds": warm.first_seconds,
            "end_to_end_tokens_per_second": cold.end_to_end_tokens_per_second,
            "decode_tokens_per_second": cold.decode_tokens_per_second,
        },
        (cold, warm),
    )
