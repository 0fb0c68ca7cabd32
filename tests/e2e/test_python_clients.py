"""Stock Python clients beside the OpenAI SDK, with their base URL changed and nothing else."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx2
import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from tests.scaffolding.messages_usage import prompt_tokens_of
from tests.scaffolding.server import RunningServer

from allod.registry.starter import STARTER_NAME

pytestmark = pytest.mark.model

GREEDY = {"temperature": 0}
"""The SDK has no parameter for it any more; the server does."""

CAPITAL = "What is the capital of France?"
WEATHER: anthropic.types.ToolParam = {
    "name": "weather",
    "description": "Weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=12)
    sure: bool


@pytest.fixture(scope="module")
def claude(starter_server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=starter_server.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def langchain(starter_server: RunningServer) -> ChatOpenAI:
    return ChatOpenAI(
        model=STARTER_NAME,
        base_url=starter_server.openai_url,
        api_key=SecretStr("any"),
        temperature=0,
        max_completion_tokens=80,
        max_retries=0,
        stream_usage=True,
    )


def words(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_anthropic_messages(claude: anthropic.Anthropic) -> None:
    """Whole, streamed and counted agree; an unknown model is a 404 of Anthropic's shape."""
    asked: list[anthropic.types.MessageParam] = [{"role": "user", "content": CAPITAL}]
    whole = claude.messages.create(model=STARTER_NAME, messages=asked, max_tokens=32, extra_body=GREEDY)
    with claude.messages.stream(
        model=STARTER_NAME, messages=asked, max_tokens=32, extra_body=GREEDY
    ) as stream:
        streamed = stream.get_final_message()
    counted = claude.messages.count_tokens(model=STARTER_NAME, messages=asked)
    assert "Paris" in words(whole)
    assert words(whole) == words(streamed)
    assert prompt_tokens_of(whole.usage) == prompt_tokens_of(streamed.usage) == counted.input_tokens
    assert whole.usage.output_tokens == streamed.usage.output_tokens
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.create(model="no-such-model", messages=asked, max_tokens=1)
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]


def test_anthropic_tools(claude: anthropic.Anthropic) -> None:
    """A forced call keeps to its schema, streamed as whole; its result can be sent back."""
    asked: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Weather in Rome?"}]
    common = {"model": STARTER_NAME, "max_tokens": 80, "extra_body": GREEDY, "tools": [WEATHER]}
    choice = {"type": "tool", "name": "weather"}
    with ThreadPoolExecutor(1) as pool:  # rows that share a pass take little longer than one
        pending = pool.submit(claude.messages.create, messages=asked, tool_choice=choice, **common)  # type: ignore[arg-type]
        with claude.messages.stream(messages=asked, tool_choice=choice, **common) as stream:  # type: ignore[arg-type]
            streamed = stream.get_final_message()
    whole = pending.result()
    for message in (whole, streamed):
        (use,) = (block for block in message.content if block.type == "tool_use")
        assert (message.stop_reason, use.name) == ("tool_use", "weather")
        assert use.input["city"] in ("Paris", "Rome")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "Sunny", "is_error": False}
    turns = [*asked, {"role": "assistant", "content": whole.content}, {"role": "user", "content": [result]}]
    assert claude.messages.create(messages=turns, **common).stop_reason


def test_langchain(langchain: ChatOpenAI) -> None:
    """Invoke, stream, bound tools and structured output."""
    whole = langchain.invoke(CAPITAL)
    assert "Paris" in whole.content
    assert "".join(str(chunk.content) for chunk in langchain.stream(CAPITAL)) == whole.content
    tool = {
        "type": "function",
        "function": {"name": "weather", "parameters": WEATHER["input_schema"], "strict": True},
    }
    called = langchain.bind_tools([tool], tool_choice="weather").invoke([HumanMessage("Weather in Rome?")])
    assert [call["name"] for call in called.tool_calls] == ["weather"]
    assert called.tool_calls[0]["args"]["city"] in ("Paris", "Rome")
    for method in ("json_schema", "function_calling"):
        made = langchain.with_structured_output(City, method=method).invoke(CAPITAL)
        assert isinstance(made, City)


async def test_pydantic_ai(starter_server: RunningServer) -> None:
    """A typed answer, by tool call as it does by default, and a plain one, whole and streamed."""
    async with openai.AsyncOpenAI(base_url=starter_server.openai_url, api_key="any") as client:
        model = OpenAIChatModel(STARTER_NAME, provider=OpenAIProvider(openai_client=client))
        settings = {"temperature": 0.0, "max_tokens": 60}  # the model makes one call after another
        typed = await Agent(model, output_type=City, model_settings=settings).run(CAPITAL)  # type: ignore[call-overload]
        assert isinstance(typed.output, City)
        plain = Agent(model, model_settings=settings)  # type: ignore[call-overload]
        whole = (await plain.run(CAPITAL)).output
        assert "Paris" in whole
        async with plain.run_stream(CAPITAL) as stream:
            assert await stream.get_output() == whole


def test_usage_is_the_same_in_every_dialect(starter_server: RunningServer) -> None:
    """One conversation has one number of prompt tokens, however it is asked for and counted."""
    body = {"model": STARTER_NAME, "messages": [{"role": "user", "content": CAPITAL}], "temperature": 0}

    def post(path: str, **fields: object) -> dict[str, object]:
        answer = httpx2.post(f"{starter_server.base_url}{path}", json={**body, **fields}, timeout=60)
        assert answer.status_code == 200, answer.text
        result: dict[str, object] = json.loads(answer.content)
        return result

    chat = post("/v1/chat/completions", max_tokens=12)["usage"]
    messages = post("/v1/messages", max_tokens=12)["usage"]
    responses = post("/v1/responses", input=CAPITAL, max_output_tokens=16)["usage"]
    counted = post("/v1/messages/count_tokens")["input_tokens"]
    tokens = post("/tokenize")["count"]
    assert isinstance(chat, dict)
    assert isinstance(messages, dict)
    assert isinstance(responses, dict)
    told = messages["input_tokens"] + messages["cache_read_input_tokens"]
    same = {chat["prompt_tokens"], told, responses["input_tokens"], counted, tokens}
    assert len(same) == 1
    assert chat["completion_tokens"] == messages["output_tokens"]
    assert chat["total_tokens"] == chat["prompt_tokens"] + chat["completion_tokens"]
    assert responses["total_tokens"] == responses["input_tokens"] + responses["output_tokens"]
