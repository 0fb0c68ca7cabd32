"""What well-known clients send, replayed: each request is answered as its sender needs it."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.scaffolding.app import composed
from tests.scaffolding.chat_templates import FAMILIES, SPECIAL_TOKENS
from tests.scaffolding.families import write_byte_tokenizer
from tests.scaffolding.shapes import check

from allod.core.card import ModelCard
from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.core.request import GenerationRequest
from allod.core.usage import Timings, Usage
from allod.local.render import PromptRenderer
from allod.testing.models import tiny_card
from allod.wire.sse import SseParser

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[2] / "golden" / "agents"
AGENTS = sorted(path.stem for path in GOLDEN.glob("*.json"))
WHOLE = "Qwen 3"
"""The template that shows all of a conversation; others leave parts of it out, as they were made to."""

Exchange = Mapping[str, Any]
Prompt = tuple[int, ...]
STARTER_HOME = Path(__file__).parents[3] / ".cache" / "test-home" / "models" / "smollm2-135m"


class RenderingBackend:
    """Renders for real, then says what the transcript has the model say.

    Attributes:
        saying: text, reasoning and calls of the next answers.
        prompts: what was rendered, in order.
    """

    def __init__(self, renderer: PromptRenderer) -> None:
        self.saying: Mapping[str, Any] = {}
        self.prompts: list[Prompt] = []
        self._renderer = renderer

    async def generate(self, request: GenerationRequest, card: ModelCard) -> AsyncGenerator[Event, None]:
        rendered = await self._renderer.render(request, card)
        self.prompts.append(rendered.tokens)
        yield Accepted(len(rendered.tokens))
        for event in self._said():
            yield event
        yield Finished(Usage(len(rendered.tokens), 5), Timings(0.0, 0.0, 0.0))

    def _said(self) -> Iterator[Event]:
        if "reasoning" in self.saying:
            yield ReasoningDelta(0, self.saying["reasoning"])
        if "text" in self.saying:
            yield TextDelta(0, self.saying["text"])
        calls = self.saying.get("calls", ())
        for index, (name, arguments) in enumerate(calls):
            yield ToolCallStarted(0, index, f"call_{index}", name)
            yield ToolCallDelta(0, index, arguments)
            yield ToolCallFinished(0, index)
        yield ChoiceFinished(0, "tool_calls" if calls else "stop")


def transcript(agent: str) -> list[Exchange]:
    """The exchanges of an agent; one that repeats another is written out."""
    exchanges: list[Exchange] = json.loads((GOLDEN / f"{agent}.json").read_text())
    for place, exchange in enumerate(exchanges):
        if "same_request" in exchange:
            text = json.dumps(exchanges[exchange["same_request"]]["request"])
            for old, new in exchange["replace"].items():
                assert old in text
                text = text.replace(old, new)
            exchanges[place] = {**exchange, "request": json.loads(text)}
    return exchanges


class Stage:
    """The application over one template, and who asks it."""

    def __init__(self, home: Path, models: Sequence[str], folder: Path) -> None:
        self.renderer = PromptRenderer(lambda _: folder)
        self.backend = RenderingBackend(self.renderer)
        cards = [tiny_card(name) for name in models]
        self.app: FastAPI = composed(home, self.backend, self.renderer, *cards)
        self._card = cards[0]

    async def play(self, exchange: Exchange) -> httpx2.Response:
        request = exchange["request"]
        self.backend.saying = exchange.get("model", {})
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.request(
                request.get("method", "POST"),
                request["path"],
                headers=request.get("headers"),
                json=deepcopy(request.get("body")),
            )

    async def read(self, prompt: Prompt) -> str:
        return await self.renderer.text(self._card, prompt)


def models_of(exchanges: Sequence[Exchange]) -> list[str]:
    named = {exchange["request"].get("body", {}).get("model") for exchange in exchanges}
    return sorted(named - {None})


@pytest.fixture
async def stages(tmp_path: Path) -> AsyncIterator[Any]:
    """Makes stages, and clears them away."""
    made: list[Stage] = []

    def make(family: str, agent: str) -> Stage:
        folder = tmp_path / "model"
        folder.mkdir()
        write_byte_tokenizer(folder)
        (folder / "chat_template.jinja").write_text(FAMILIES[family])
        (folder / "tokenizer_config.json").write_text(json.dumps(SPECIAL_TOKENS))
        made.append(Stage(tmp_path, models_of(transcript(agent)), folder))
        return made[-1]

    yield make
    for stage in made:
        stage.renderer.close()


def events_of(answer: httpx2.Response) -> list[Any]:
    events = SseParser().feed(answer.content)
    return [event.decode() if event == b"[DONE]" else json.loads(event) for event in events]


def kind(event: Any) -> str:
    """What an event is about: its type, or for a chunk what its delta brings."""
    if isinstance(event, str):
        return event
    if "type" in event:
        return event["type"]
    if not event["choices"]:
        return "usage"
    (choice,) = event["choices"]
    if choice["finish_reason"] is not None:
        return "finish"
    delta = choice.get("delta", {"text": ""})
    names = {"role": "role", "reasoning_content": "reasoning", "tool_calls": "call"}
    return next((word for name, word in names.items() if name in delta), "text")


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path."""
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def lacks(value: Any, path: str) -> bool:
    try:
        at(value, path)
    except (KeyError, IndexError):
        return True
    return False


def check_answer(answer: httpx2.Response, expect: Exchange, path: str) -> None:
    assert answer.status_code == expect.get("status", 200), answer.text
    assert answer.headers["x-request-id"]
    ignored = answer.headers.get("x-allod-ignored-fields", "").split(", ")
    assert set(expect.get("ignored", ())) <= set(ignored)
    if not answer.content:
        return
    streams = answer.headers["content-type"].startswith("text/event-stream")
    body = {"events": events_of(answer)} if streams else answer.json()
    for place, expected in expect.get("has", {}).items():
        found = at(body, place)
        assert found == expected or (expected == "*" and found not in (None, "")), f"{place}: {found}"
    for place in expect.get("lacks", ()):
        assert lacks(body, place), place
    if streams:
        check_stream(body["events"], expect, path)


def check_stream(events: Sequence[Any], expect: Exchange, path: str) -> None:
    kinds = [one for one, _ in groupby(map(kind, events)) if one != "ping"]
    if "order" in expect:
        assert kinds == expect["order"]
    if "kinds" in expect:
        blocks = [event["content_block"]["type"] for event in events if kind(event) == "content_block_start"]
        assert blocks == expect["kinds"]
    shape = {"messages": "AnthropicStreamEvent", "responses": "ResponseStreamEvent"}
    route = path.partition("?")[0].rpartition("/")[2]
    chunk = "ChatCompletionChunk" if "chat" in path else "Completion"
    for event in events:
        if event != "[DONE]":
            check(shape.get(route, chunk), event)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("agent", AGENTS)
async def test_every_request_is_answered(stages: Any, agent: str, family: str) -> None:
    """Over every family's template; what the prompt must hold is asked of the one that shows all."""
    stage: Stage = stages(family, agent)
    prompts: dict[int, Prompt] = {}
    for place, exchange in enumerate(transcript(agent)):
        stage.backend.prompts.clear()
        answer = await stage.play(exchange)
        expect = exchange["expect"]
        try:
            check_answer(answer, expect, exchange["request"]["path"])
            if stage.backend.prompts:
                prompts[place] = stage.backend.prompts[-1]
            if "prompt_same_as" in expect:
                assert prompts[place] == prompts[expect["prompt_same_as"]]
            await check_prompt(stage, expect, whole=family == WHOLE)
        except AssertionError as error:
            error.add_note(f"{agent}: {exchange['about']}")
            raise


async def check_prompt(stage: Stage, expect: Exchange, *, whole: bool) -> None:
    """What it must not hold, it holds in no family."""
    text = await stage.read(stage.backend.prompts[-1]) if stage.backend.prompts else ""
    for part in expect.get("prompt_has", ()) if whole else ():
        assert part in text
    for part in expect.get("prompt_lacks", ()):
        assert part not in text


@pytest.mark.model
@pytest.mark.parametrize("agent", AGENTS)
async def test_the_starter_takes_them(tmp_path: Path, agent: str) -> None:
    """A model without tools of its own gets them in the generic form; its tokens are the same too."""
    if not STARTER_HOME.is_dir():
        pytest.skip("the starter model is not here")
    stage = Stage(tmp_path, models_of(transcript(agent)), STARTER_HOME)
    prompts: dict[int, Prompt] = {}
    try:
        for place, exchange in enumerate(transcript(agent)):
            answer = await stage.play(exchange)
            check_answer(answer, exchange["expect"], exchange["request"]["path"])
            prompts[place] = stage.backend.prompts[-1] if stage.backend.prompts else ()
            if "prompt_same_as" in exchange["expect"]:
                assert prompts[place] == prompts[exchange["expect"]["prompt_same_as"]]
            await check_prompt(stage, exchange["expect"], whole=True)
    finally:
        stage.renderer.close()
