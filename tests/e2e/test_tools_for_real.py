"""Tool calls of a real, small and clumsy model: whatever it does, no client is sold a broken call."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion

from allod.registry.starter import STARTER_NAME

pytestmark = [pytest.mark.model, pytest.mark.slow]

MOST_TOKENS = 60
AT_ONCE = 8
SEEDS = 4
STREAMED_EVERY = 5
ARGUMENTS: dict[str, object] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome", "Bern"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": ARGUMENTS,
        "strict": True,
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "The time.",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        "strict": True,
    },
}
SCHEMAS = {"weather": ARGUMENTS, "clock": CLOCK["function"]["parameters"]}
NAMED = {"type": "function", "function": {"name": "weather"}}
MARKUP = ("<tool_call", "</tool_call", '"arguments"')


@dataclass(frozen=True)
class Outcome:
    """What an answer came to, whole or streamed.

    Attributes:
        calls: name and arguments of each.
    """

    text: str
    calls: tuple[tuple[str, str], ...]
    finish: str


def asked(city: str = "Rome") -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"What is the weather in {city} for 3 days?"}]


def create(client: openai.OpenAI, **options: Any) -> Any:
    common = {"model": STARTER_NAME, "messages": asked(), "temperature": 0, "tools": [WEATHER]}
    return client.chat.completions.create(**{**common, **options})


def whole(client: openai.OpenAI, **options: Any) -> Outcome:
    answer: ChatCompletion = create(client, **options)
    (choice,) = answer.choices
    calls = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
    pairs = tuple((call.name, call.arguments) for call in calls)
    return Outcome(choice.message.content or "", pairs, choice.finish_reason)


def streamed(client: openai.OpenAI, **options: Any) -> Outcome:
    text, finish = "", ""
    calls: list[list[str]] = []
    for chunk in create(client, stream=True, **options):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or ():
                if call.index == len(calls):
                    calls.append([call.function.name, ""])
                calls[call.index][1] += call.function.arguments or ""
    return Outcome(text, tuple((name, arguments) for name, arguments in calls), finish)


def check(outcome: Outcome) -> None:
    """Calls that are sold as finished follow their schema; no markup is in the text."""
    assert not any(mark in outcome.text for mark in MARKUP), outcome
    for name, arguments in outcome.calls:
        jsonschema.validate(json.loads(arguments), SCHEMAS[name])


def both(client: openai.OpenAI, **options: Any) -> Iterator[Outcome]:
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda ask: ask(client, **options), (whole, streamed)))
    for outcome in outcomes:
        if outcome.finish == "tool_calls":
            check(outcome)
        yield outcome


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_a_forced_call_comes(starter: openai.OpenAI, choice: object) -> None:
    """Required and named calls come, follow their schema, and are the same streamed."""
    options = {"tools": [WEATHER, CLOCK], "tool_choice": choice, "parallel_tool_calls": False}
    first, second = both(starter, **options, max_tokens=MOST_TOKENS)
    assert first == second
    assert first.finish == "tool_calls"
    assert first.calls
    if choice == NAMED:
        assert {name for name, _ in first.calls} == {"weather"}


def test_one_call_at_most(starter: openai.OpenAI) -> None:
    """`parallel_tool_calls: false` is kept at any temperature."""

    def ask(seed: int) -> Outcome:
        return whole(
            starter,
            tools=[WEATHER, CLOCK],
            tool_choice="required",
            parallel_tool_calls=False,
            temperature=1.0,
            seed=seed,
            max_tokens=MOST_TOKENS,
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(ask, range(SEEDS)))
    for outcome in outcomes:
        check(outcome)
        assert (len(outcome.calls), outcome.finish) == (1, "tool_calls")


def history(*cities: str) -> list[dict[str, Any]]:
    """A conversation in which every question led to a call: even a small model goes on like that."""
    turns: list[dict[str, Any]] = []
    for number, city in enumerate(cities):
        arguments = json.dumps({"city": city, "days": 3})
        call = {"id": f"call_{number}", "type": "function"}
        turns += [
            *asked(city),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{**call, "function": {"name": "weather", "arguments": arguments}}],
            },
            {"role": "tool", "tool_call_id": call["id"], "content": "Sunny"},
            {"role": "assistant", "content": f"It is sunny in {city}."},
        ]
    return turns


def test_strict_arguments_under_auto(starter: openai.OpenAI) -> None:
    """Free to call or not, the model cannot break the schema of a strict tool once it calls it."""
    messages = [*history("Paris", "Rome"), *asked("Paris")]

    def ask(seed: int) -> Outcome:
        options = {"messages": messages, "temperature": 1.0, "seed": seed, "max_tokens": 40}
        return (whole if seed % 2 else streamed)(starter, **options)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(ask, range(2 * SEEDS)))
    called = [outcome for outcome in outcomes if outcome.finish == "tool_calls"]
    for outcome in called:
        check(outcome)
    assert called, outcomes


def test_results_go_back(starter: openai.OpenAI) -> None:
    """A call's answer, as the SDK gives it, can be sent back with its result, and is answered."""
    answer = create(starter, tool_choice=NAMED, max_tokens=MOST_TOKENS)
    message = answer.choices[0].message
    (call,) = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees"}
    turns = [*asked(), message.model_dump(exclude_none=True), result]
    first, second = both(starter, messages=turns, max_tokens=16)
    assert first.text == second.text
    assert first.finish == second.finish


@pytest.mark.timeout(600)
def test_a_cut_call_is_never_sold_as_finished(starter: openai.OpenAI) -> None:
    """At any limit: `tool_calls` only with arguments that follow the schema, otherwise `length`.

    The whole answer holds no incomplete call; the stream never ends a cut one with `tool_calls`. A call
    that is complete stays in an answer that is cut behind it.
    """
    forced = {"tool_choice": NAMED, "parallel_tool_calls": False}
    enough = create(starter, **forced, max_tokens=MOST_TOKENS).usage.completion_tokens
    # Every limit near the end, where it matters, and some before; the unit tests cut at every character.
    limits = sorted({*range(1, enough, 9), *range(enough - 3, enough + 2), MOST_TOKENS})

    streams = [limit for limit in limits if limit % STREAMED_EVERY == 0 or limit > enough - 4]
    with ThreadPoolExecutor(len(limits) + len(streams)) as pool:  # one batch, as long as its longest answer
        wholes = pool.map(lambda limit: whole(starter, **forced, max_tokens=limit), limits)
        others = pool.map(lambda limit: streamed(starter, **forced, max_tokens=limit), streams)
        found = dict(zip(limits, wholes, strict=True))
        also = {**found, **dict(zip(streams, others, strict=True))}
    answers = [(found[limit], also[limit]) for limit in limits]
    done = [limit for limit, (first, _) in zip(limits, answers, strict=True) if first.finish == "tool_calls"]
    assert done == limits[limits.index(done[0]) :]
    assert 2 < done[0] <= enough
    for limit, (first, second) in zip(limits, answers, strict=True):
        assert first.finish == second.finish, limit
        assert not any(mark in first.text + second.text for mark in MARKUP)
        if limit in done:
            check(first)
            assert first == second
            assert len(first.calls) == 1
            continue
        assert first.finish == "length"
        check(first)
        assert second.calls[: len(first.calls)] == first.calls
        for _, arguments in second.calls[len(first.calls) :]:
            with pytest.raises(json.JSONDecodeError):
                json.loads(arguments)
