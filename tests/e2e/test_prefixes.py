"""The prefix cache as clients see it: counted to the token, told in a header, and no change to answers."""

import itertools
from functools import partial
from typing import Any

import openai
import pytest
from tests.scaffolding.server import RunningServer

pytestmark = pytest.mark.model

SYSTEM = {"role": "system", "content": "You are careful. " + "Answer in short words. " * 12}
QUESTIONS = ("Who wrote Romeo and Juliet?", "What is 2+2?", "Name a colour.", "Say it again.")
MODELS = ("llama", "gemma3-text", "qwen3-next")
"""One for each way that layers keep their state: whole, a window, recurrent."""


def answers(server: RunningServer, model: str) -> list[tuple[str, int, int]]:
    with openai.OpenAI(base_url=server.openai_url, api_key="any", max_retries=0) as client:
        return conversation(client, model)


def conversation(client: openai.OpenAI, model: str) -> list[tuple[str, int, int]]:
    """A conversation of some turns: what was said, how long its prompt was, and how much of it was reused."""
    messages: list[Any] = [SYSTEM]
    found: list[tuple[str, int, int]] = []
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        answer = client.chat.completions.create(
            model=model, messages=messages, max_tokens=12, temperature=0, extra_body={"ignore_eos": True}
        )
        text = answer.choices[0].message.content or ""
        messages.append({"role": "assistant", "content": text})
        assert answer.usage
        assert answer.usage.prompt_tokens_details
        cached = answer.usage.prompt_tokens_details.cached_tokens or 0
        found.append((text, answer.usage.prompt_tokens, cached))
    return found


@pytest.mark.parametrize("model", MODELS)
def test_answers_are_the_same_with_the_cache_and_without(
    keeping_server: RunningServer, forgetting_server: RunningServer, model: str
):
    """At temperature 0, for every kind of layer; with it, every turn reuses what came before."""
    warm = answers(keeping_server, model)
    cold = answers(forgetting_server, model)
    assert [text for text, _, _ in warm] == [text for text, _, _ in cold]
    assert [cached for _, _, cached in cold] == [0] * len(QUESTIONS)
    for (_, before, _), (_, length, cached) in itertools.pairwise(warm):
        assert before - 1 <= cached < length


def test_the_header_says_how_much_is_reused_and_where_it_ends(
    starter: openai.OpenAI, starter_server: RunningServer
):
    """The first differing position is that of the first token that differs."""
    messages: list[Any] = [SYSTEM, {"role": "user", "content": "Write about the sea, please, at length."}]
    ask = partial(starter.chat.completions.with_raw_response.create, model="smollm2-135m", messages=messages)
    ask(max_tokens=1, temperature=0)
    raw = ask(max_tokens=1, temperature=0)
    usage = raw.parse().usage
    assert usage
    assert usage.prompt_tokens_details
    reused = usage.prompt_tokens - 1
    assert usage.prompt_tokens_details.cached_tokens == reused
    assert raw.headers["x-allod-prefix"] == f"cached={reused}; agreed={reused}; end=complete"
