"""Many clients connect at once with tiny requests: who is served, who is refused properly, who fails."""

from collections.abc import Sequence
from functools import partial

from allod.bench.client import Client
from allod.bench.figures import percentile
from allod.bench.prompts import nonce
from allod.bench.scenarios.base import Case, Sizing, Take, together

NAME = "connections"
_REFUSALS = ("http 429", "http 503")


def cases(sizing: Sizing) -> Sequence[Case]:
    """One case for each number of clients."""
    return [
        Case(NAME, f"{count} clients", count, partial(_measure, count))
        for count in sizing.settings.connections
    ]


async def _measure(count: int, client: Client) -> Take:
    answers = await together([client.say(f"{nonce()}: say one word.", 1) for _ in range(count)])
    served = [answer for answer in answers if not answer.failure]
    refused = sum(answer.failure in _REFUSALS for answer in answers)
    # The connection counts here: who waits in the listen queue waits too.
    waits = [
        answer.ended_seconds - answer.sent_seconds + answer.connect_seconds
        for answer in served
        if answer.sent_seconds is not None
    ]
    return Take(
        {
            "served": len(served),
            "refused": refused,
            "failed": count - len(served) - refused,
            "served_seconds_p50": percentile(waits, 0.5),
            "served_seconds_p99": percentile(waits, 0.99),
        },
        answers,
    )
