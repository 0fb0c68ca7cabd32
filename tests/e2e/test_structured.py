"""Structured output as clients ask for it: many schemas, many at once, and every answer in form."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import jsonschema
import openai
import pytest

from allod.registry.starter import STARTER_NAME

pytestmark = [pytest.mark.model, pytest.mark.slow]

ANSWERS = 64
CHOICES = 4
REQUESTS_AT_ONCE = 8
MOST_TOKENS = 32


def closed(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


COLOUR = {"type": "string", "enum": ["red", "green", "blue"]}
SMALL = {"type": "integer", "minimum": 0, "maximum": 99}
SCHEMAS: list[dict[str, object]] = [
    closed(a=COLOUR),
    closed(a=SMALL, b={"type": "boolean"}),
    closed(a={"type": "string", "maxLength": 3}),
    closed(a={"type": "array", "items": SMALL, "maxItems": 2}),
    closed(a={"anyOf": [{"const": "km"}, {"type": "null"}]}),
    closed(a={"type": "string", "pattern": "^[A-Z]-[0-9]$"}),
    {**closed(a={"$ref": "#/$defs/part"}), "$defs": {"part": {"enum": ["x", 1, True]}}},
    closed(a={"type": "number", "minimum": 0, "exclusiveMaximum": 10, "multipleOf": 0.25}),
]


def ask(client: openai.OpenAI, schema: dict[str, object], seed: int) -> list[tuple[str, str]]:
    """Why each answer ended, and its text."""
    answer = client.chat.completions.create(
        model=STARTER_NAME,
        messages=[{"role": "system", "content": "JSON"}, {"role": "user", "content": "What is it?"}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "box", "strict": True, "schema": schema},
        },
        temperature=1.0,
        seed=seed,
        n=CHOICES,
        max_tokens=MOST_TOKENS,
    )
    return [(choice.finish_reason, choice.message.content or "") for choice in answer.choices]


@pytest.mark.timeout(600)
def test_every_finished_answer_is_valid(starter: openai.OpenAI):
    """Of 64 answers at temperature 1, eight to a schema, every one ends by itself and follows its schema."""
    asked = list(islice(cycle(SCHEMAS), ANSWERS // CHOICES))
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        answers = list(pool.map(lambda number: ask(starter, asked[number], number), range(len(asked))))
    reasons = Counter[str]()
    for schema, choices in zip(asked, answers, strict=True):
        for reason, text in choices:
            reasons[reason] += 1
            if reason == "stop":
                jsonschema.validate(json.loads(text), schema)
    assert reasons == Counter(stop=ANSWERS)


def test_what_cannot_be_enforced_is_refused(starter: openai.OpenAI):
    """A rule that would be dropped is a 400 that names it, before anything is generated."""
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(starter, {"type": "array", "uniqueItems": True}, 0)
    assert refusal.value.param == "response_format.json_schema.schema"
    assert "uniqueItems" in refusal.value.message


def test_any_object(starter: openai.OpenAI):
    """`json_object` needs no schema; an answer that finished is one object."""
    answer = starter.chat.completions.create(
        model=STARTER_NAME,
        messages=[{"role": "user", "content": 'Say {"ok": true}.'}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=60,
    )
    text = answer.choices[0].message.content or ""
    assert text.startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)
