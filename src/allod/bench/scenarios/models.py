"""Several models, asked in turn: what it costs to go from one to the next."""

from collections.abc import Sequence
from functools import partial

from allod.bench.client import Client
from allod.bench.figures import percentile
from allod.bench.prompts import nonce, question
from allod.bench.scenarios.base import Case, Sizing, Take

NAME = "models"
_TOKENS = 8


def cases(sizing: Sizing) -> Sequence[Case]:
    """One case where a target was given several models, else none."""
    if sizing.models < 2:
        return ()
    return (Case(NAME, f"{sizing.models} models in turn", sizing.models, partial(_measure, sizing)),)


async def _measure(sizing: Sizing, client: Client) -> Take:
    words = sizing.words(sizing.settings.prompt_words, _TOKENS)
    answers = [await client.say(question(words, nonce()), _TOKENS, model).answer() for model in client.models]
    firsts = [answer.first_seconds for answer in answers if answer.first_seconds is not None]
    return Take(
        {
            "switch_first_seconds_p50": percentile(firsts, 0.5),
            "switch_first_seconds_max": max(firsts, default=None),
        },
        answers,
    )
