"""Hundreds of mixed requests through a real server: memory is back where it was."""

import asyncio
import random

import openai
import pytest
from tests.e2e.test_isolation import REUSE_SLACK_BYTES, settled
from tests.scaffolding.server import RunningServer

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.endurance]

REQUESTS, MOST_REQUESTS = 300, 1000
AT_ONCE = 24


async def test_hundreds_of_mixed_requests_leave_no_byte(
    forgetting_server: RunningServer, *, endures: bool
) -> None:
    """Lengths, choices, sampling, streams, early leavers and refusals mixed; active bytes return.

    Nothing is kept of prompts here, so that every byte that stays is a leak.
    """
    dice = random.Random(4)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(client: openai.AsyncOpenAI) -> None:
        async with gate:
            words = "word " * dice.choice((1, 20, 300, 5000))
            try:
                response = await client.chat.completions.create(
                    model="llama",
                    messages=[{"role": "user", "content": words}],
                    n=dice.choice((1, 1, 2, 3)),
                    max_tokens=dice.choice((1, 4, 12)),
                    temperature=dice.choice((0, 1)),
                    presence_penalty=dice.choice((0, 0.5)),
                    logprobs=dice.random() < 0.3 or None,
                    stream=True,
                )
            except openai.BadRequestError as refusal:
                if refusal.code != "context_length_exceeded":
                    raise
                return
            async with response:
                async for _ in response:
                    if dice.random() < 0.02:
                        break

    async with openai.AsyncOpenAI(
        base_url=forgetting_server.openai_url, api_key="any", max_retries=0
    ) as client:
        await asyncio.gather(*(one(client) for _ in range(60)))
        before = (await settled(forgetting_server, "llama"))["active_bytes"]
        await asyncio.gather(*(one(client) for _ in range(MOST_REQUESTS if endures else REQUESTS)))
        after = (await settled(forgetting_server, "llama"))["active_bytes"]
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert abs(after - before) <= REUSE_SLACK_BYTES
