"""A conversation that grows, as agents have them: each turn repeats all before it and adds some."""

from collections.abc import Sequence
from functools import partial

from allod.bench.answer import Answer
from allod.bench.client import Client, Message
from allod.bench.figures import median
from allod.bench.prompts import nonce, prose
from allod.bench.scenarios.base import Case, Sizing, Take

NAME = "agent"
TURNS = 8
_ANSWER_TOKENS = 32
_SYSTEM = "You are a careful agent. Read what the tools report and go on."


def cases(sizing: Sizing) -> Sequence[Case]:
    """One case, as long as the servers' contexts allow."""
    tokens = sizing.tokens(sizing.settings.agent_tokens, _ANSWER_TOKENS)
    return (Case(NAME, f"{TURNS} turns to {tokens} tokens", tokens, partial(_measure, sizing, tokens)),)


async def _measure(sizing: Sizing, tokens: int, client: Client) -> Take:
    words = max(1, int((tokens / TURNS - _ANSWER_TOKENS) / sizing.tokens_per_word))
    conversation = [Message("system", f"{nonce()}: {_SYSTEM}")]
    answers: list[Answer] = []
    for turn in range(TURNS):
        conversation.append(Message("user", f"Report {turn + 1}: {prose(words)}."))
        answer, text = await client.ask(conversation, _ANSWER_TOKENS).answer_and_text()
        answers.append(answer)
        if answer.failure:
            break
        conversation.append(Message("assistant", text or "Go on."))
    return Take(_figures(answers), answers)


def _figures(answers: Sequence[Answer]) -> dict[str, float | None]:
    firsts = [answer.first_seconds for answer in answers]
    later = [first for first in firsts[1:] if first is not None]
    return {
        "first_turn_first_seconds": firsts[0],
        "later_turns_first_seconds": median(later),
        "last_turn_first_seconds": firsts[-1] if len(firsts) == TURNS else None,
        "cached_share": cached_share(answers[1:]),
    }


def cached_share(answers: Sequence[Answer]) -> float | None:
    """Of the prompts' tokens, those that the server says it knew; None where it does not say."""
    told = [answer for answer in answers if answer.cached_tokens is not None and answer.prompt_tokens]
    tokens = sum(answer.prompt_tokens or 0 for answer in told)
    return sum(answer.cached_tokens or 0 for answer in told) / tokens if tokens else None
