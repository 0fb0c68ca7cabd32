"""Many streams at once: the rate of all together, and what each of them waits."""

from collections.abc import Sequence
from functools import partial

from allod.bench.answer import Answer
from allod.bench.client import Client
from allod.bench.figures import percentile
from allod.bench.prompts import nonce, question
from allod.bench.scenarios.base import Case, Sizing, Take, together

NAME = "streams"
_LEAST_DELTAS = 4
"""A window in which all streams decode counts when each of them says this much in it."""


def cases(sizing: Sizing) -> Sequence[Case]:
    """One case for each number of streams."""
    return [
        Case(NAME, f"{count} streams" if count > 1 else "1 stream", count, partial(_measure, sizing, count))
        for count in sizing.settings.streams
    ]


async def _measure(sizing: Sizing, count: int, client: Client) -> Take:
    tokens = sizing.settings.max_tokens
    words = sizing.words(sizing.settings.prompt_words, tokens)
    answers = await together([client.say(question(words, nonce()), tokens) for _ in range(count)])
    firsts = [answer.first_seconds for answer in answers if answer.first_seconds is not None]
    gaps = [gap for answer in answers for gap in answer.gaps_seconds]
    return Take(
        {
            "end_to_end_tokens_per_second": end_to_end(answers),
            "decode_tokens_per_second": decoding(answers),
            "first_seconds_p50": percentile(firsts, 0.5),
            "first_seconds_p99": percentile(firsts, 0.99),
            "gap_seconds_p50": percentile(gaps, 0.5),
            "gap_seconds_p99": percentile(gaps, 0.99),
        },
        answers,
    )


def end_to_end(answers: Sequence[Answer]) -> float | None:
    """All tokens over the time from the first request to the last delta."""
    spoken = [answer for answer in answers if answer.arrivals_seconds and answer.sent_seconds is not None]
    if not spoken:
        return None
    first = min(answer.sent_seconds for answer in spoken if answer.sent_seconds is not None)
    last = max(answer.arrivals_seconds[-1] for answer in spoken)
    return sum(answer.tokens for answer in spoken) / (last - first)


def decoding(answers: Sequence[Answer]) -> float | None:
    """Tokens per second while all streams decode: after the last first delta, up to the first last one.

    None when a stream failed, or when that time is so short that some stream says hardly anything in it:
    longer answers make it longer.
    """
    if any(answer.failure or not answer.arrivals_seconds for answer in answers):
        return None
    begin = max(answer.arrivals_seconds[0] for answer in answers)
    end = min(answer.arrivals_seconds[-1] for answer in answers)
    within = [sum(begin < moment <= end for moment in answer.arrivals_seconds) for answer in answers]
    if min(within) < _LEAST_DELTAS:
        return None
    tokens = sum(answer.tokens_per_delta * deltas for answer, deltas in zip(answers, within, strict=True))
    return tokens / (end - begin)
