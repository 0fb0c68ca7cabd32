"""Half of the clients go away in the middle of their answers: what becomes of the others, and of the next."""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from allod.bench.client import Client
from allod.bench.prompts import nonce, question
from allod.bench.scenarios.base import Case, Sizing, Take

NAME = "drops"
STREAMS = 8
_PIECES = 4
_NEXT_TOKENS = 8


def cases(sizing: Sizing) -> Sequence[Case]:
    """One case."""
    return (Case(NAME, f"{STREAMS // 2} of {STREAMS} go away", STREAMS, partial(_measure, sizing)),)


async def _measure(sizing: Sizing, client: Client) -> Take:
    tokens = sizing.settings.max_tokens
    words = sizing.words(sizing.settings.prompt_words, tokens)
    streams = [client.say(question(words, nonce()), tokens) for _ in range(STREAMS)]
    running = [asyncio.create_task(stream.answer()) for stream in streams]
    await asyncio.gather(*(stream.exchange.heard(_PIECES) for stream in streams))
    dropped = client.now()
    for stream in streams[::2]:
        stream.exchange.drop()
    following = await client.say(question(words, nonce()), _NEXT_TOKENS).answer()
    answers = await asyncio.gather(*running)
    survivors = answers[1::2]
    gaps = [
        later - earlier
        for answer in survivors
        for earlier, later in pairwise(answer.arrivals_seconds)
        if later > dropped
    ]
    return Take(
        {
            "survivors_share": sum(not answer.failure for answer in survivors) / len(survivors),
            "longest_gap_seconds": max(gaps, default=None),
            "afterwards_first_seconds": None if following.failure else following.first_seconds,
        },
        (*answers, following),
    )
