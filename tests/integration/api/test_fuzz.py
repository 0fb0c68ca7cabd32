"""Thousands of broken histories: each is answered or refused, none breaks the server."""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import httpx2
import pytest
from tests.integration.api.conftest import card
from tests.scaffolding.app import composed
from tests.scaffolding.chat_templates import FAMILIES
from tests.scaffolding.families import write_byte_tokenizer
from tests.scaffolding.histories import Body, Chaos, chat_body, messages_body, responses_body

from allod.core.card import ModelCard
from allod.core.events import Accepted, ChoiceFinished, Event, Finished, TextDelta
from allod.core.request import GenerationRequest
from allod.core.usage import Timings, Usage
from allod.local.render import PromptRenderer

ROUNDS, MOST_ROUNDS = 3_000, 10_000
ROUTES: dict[str, Callable[[Chaos, str], Body]] = {
    "/v1/chat/completions": chat_body,
    "/v1/messages": messages_body,
    "/v1/responses": responses_body,
}
JSON = {"content-type": "application/json"}
UNDERSTOOD = 0.5
"""Share of the bodies that must get an answer: a generator of nothing but refusals would test little."""


class RenderingBackend:
    """Renders for real, so that templates, grammars and parsers are made; then says hello."""

    def __init__(self, prompts: PromptRenderer) -> None:
        self._prompts = prompts

    async def generate(self, request: GenerationRequest, card: ModelCard) -> AsyncGenerator[Event, None]:
        rendered = await self._prompts.render(request, card)
        rendered.reading.parser()
        yield Accepted(len(rendered.tokens))
        yield TextDelta(0, "hello")
        yield ChoiceFinished(0, "stop")
        yield Finished(Usage(len(rendered.tokens), 1), Timings(0.0, 0.0, 0.0))


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.timeout(240)
async def test_no_history_breaks_the_server(tmp_path: Path, *, endures: bool) -> None:
    """Every body gets 200 or a 4xx whose error names something; no template lets anything else out."""
    rounds = MOST_ROUNDS if endures else ROUNDS
    cards: list[ModelCard] = []
    for name, template in FAMILIES.items():
        folder = tmp_path / name
        folder.mkdir()
        write_byte_tokenizer(folder)
        (folder / "chat_template.jinja").write_text(template)
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
        cards.append(card(name))
    prompts = PromptRenderer(lambda one: tmp_path / one.name)
    app = composed(tmp_path, RenderingBackend(prompts), prompts, *cards)
    statuses: Counter[int] = Counter()
    chaos = Chaos(20_261_123)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        for index in range(rounds):
            path, make = list(ROUTES.items())[index % len(ROUTES)]
            body = make(chaos, cards[index % len(cards)].name)
            answer = await client.post(path, content=json.dumps(body), headers=JSON)
            statuses[answer.status_code] += 1
            assert answer.status_code == 200 or 400 <= answer.status_code < 500, (path, body, answer.text)
            if answer.status_code != 200:
                assert answer.json()["error"]["message"], (path, body)
    prompts.close()
    print(statuses)
    assert statuses[200] > rounds * UNDERSTOOD, statuses
