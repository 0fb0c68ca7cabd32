"""The official openai SDK beyond plain chats: tools, parsed answers, responses, files and batches."""

import json
import time

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

from allod.registry.starter import STARTER_NAME

pytestmark = pytest.mark.model

CAPITAL = "What is the capital of France?"
BATCH_SECONDS = 90


class Weather(BaseModel):
    """Weather of a city."""

    city: str = Field(max_length=12)


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=12)
    sure: bool


def asked(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_tools_and_answers_are_parsed(starter: openai.OpenAI) -> None:
    """The helpers that send strict schemas get answers that fit them, whole and streamed."""
    tool = openai.pydantic_function_tool(Weather)
    parsed = starter.chat.completions.parse(
        model=STARTER_NAME, messages=asked(CAPITAL), response_format=City, temperature=0, max_tokens=60
    )
    assert isinstance(parsed.choices[0].message.parsed, City)
    with starter.chat.completions.stream(
        model=STARTER_NAME,
        messages=asked("Weather in Rome?"),
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=80,
    ) as stream:
        answer = stream.get_final_completion().choices[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.message.tool_calls
    (call,) = answer.message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)
    assert call.id.startswith("call_")


def test_responses_are_kept_continued_and_forgotten(starter: openai.OpenAI) -> None:
    """Whole and streamed agree; a chain knows what was said; what is deleted is gone."""
    common = {"model": STARTER_NAME, "input": CAPITAL, "temperature": 0, "max_output_tokens": 24}
    whole = starter.responses.create(**common)
    with starter.responses.stream(**common) as stream:
        streamed = stream.get_final_response()
    assert "Paris" in whole.output_text
    assert whole.output_text == streamed.output_text
    assert whole.usage == streamed.usage
    follow = starter.responses.create(**{**common, "input": "Repeat."}, previous_response_id=whole.id)
    assert whole.usage
    assert follow.usage
    assert follow.usage.input_tokens > whole.usage.input_tokens
    assert starter.responses.retrieve(whole.id).output_text == whole.output_text
    starter.responses.delete(whole.id)
    with pytest.raises(openai.NotFoundError):
        starter.responses.retrieve(whole.id)
    unkept = starter.responses.create(**common, store=False)
    with pytest.raises(openai.NotFoundError):
        starter.responses.retrieve(unkept.id)


def test_responses_follow_a_schema(starter: openai.OpenAI) -> None:
    """`parse` sends `text.format`."""
    parsed = starter.responses.parse(
        model=STARTER_NAME, input=CAPITAL, text_format=City, temperature=0, max_output_tokens=60
    )
    assert isinstance(parsed.output_parsed, City)


def test_a_batch_is_answered_line_by_line(starter: openai.OpenAI) -> None:
    """Every line has its answer or its error under its own id."""
    good = {"model": STARTER_NAME, "messages": asked(CAPITAL), "max_tokens": 12, "temperature": 0}
    bodies = {"right": good, "also right": {**good, "n": 2}, "wrong": {**good, "temperature": "hot"}}
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for name, body in bodies.items()
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    file = starter.files.create(file=("lines.jsonl", text), purpose="batch")
    batch = starter.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    deadline = time.monotonic() + BATCH_SECONDS
    while batch.status not in ("completed", "failed"):
        assert time.monotonic() < deadline, batch
        time.sleep(0.2)
        batch = starter.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert batch.request_counts
    assert (batch.request_counts.total, batch.request_counts.completed) == (3, 2)
    assert batch.output_file_id
    assert batch.error_file_id
    answers = {
        line["custom_id"]: line
        for kept in (batch.output_file_id, batch.error_file_id)
        for line in map(json.loads, starter.files.content(kept).text.splitlines())
    }
    assert set(answers) == set(bodies)
    direct = starter.chat.completions.create(**good)
    body = answers["right"]["response"]["body"]
    assert body["choices"][0]["message"]["content"] == direct.choices[0].message.content
    assert len(answers["also right"]["response"]["body"]["choices"]) == 2
    assert answers["wrong"]["response"]["status_code"] == 400
