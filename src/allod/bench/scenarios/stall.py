"""A long prompt arrives while streams decode: how long they stand still, and how long it waits."""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from allod.bench.answer import Answer
from allod.bench.client import Client
from allod.bench.figures import percentile
from allod.bench.prompts import nonce, question
from allod.bench.scenarios.base import Case, Sizing, Take

NAME = "stall"
STREAMS = (1, 4)
_STREAM_TOKENS = 4096
_CALM_PIECES = 16
_NEWCOMER_TOKENS = 8


def cases(sizing: Sizing) -> Sequence[Case]:
    """Beside one stream, and beside some."""
    return [Case(NAME, f"beside {count}", count, partial(_measure, sizing, count)) for count in STREAMS]


async def _measure(sizing: Sizing, count: int, client: Client) -> Take:
    settings = sizing.settings
    tokens = sizing.tokens(_STREAM_TOKENS, settings.max_tokens)
    words = sizing.words(settings.prompt_words, settings.max_tokens)
    streams = [client.say(question(words, nonce()), tokens) for _ in range(count)]
    running = [asyncio.create_task(stream.answer()) for stream in streams]
    await asyncio.gather(*(stream.exchange.heard(_CALM_PIECES) for stream in streams))
    long_words = sizing.words(settings.long_words, _NEWCOMER_TOKENS)
    newcomer = await client.say(question(long_words, nonce()), _NEWCOMER_TOKENS).answer()
    # The gap that the newcomer's end falls into ends with one more piece.
    await asyncio.gather(
        *(stream.exchange.heard(len(stream.exchange.reply.pieces) + 1) for stream in streams)
    )
    for stream in streams:
        stream.exchange.drop()
    answers = await asyncio.gather(*running)
    return Take(_figures(answers, newcomer), (*answers, newcomer))


def _figures(streams: Sequence[Answer], newcomer: Answer) -> dict[str, float | None]:
    came, spoke = newcomer.sent_seconds, newcomer.arrivals_seconds[:1]
    calm: list[float] = []
    during: list[float] = []
    if came is not None and spoke and not newcomer.failure:
        for earlier, later in (pair for stream in streams for pair in pairwise(stream.arrivals_seconds)):
            if later <= came:
                calm.append(later - earlier)
            elif earlier < spoke[0]:
                during.append(later - earlier)
    return {
        "gap_seconds_p50": percentile(calm, 0.5),
        "longest_gap_seconds": max(during, default=None),
        "newcomer_first_seconds": newcomer.first_seconds,
    }
