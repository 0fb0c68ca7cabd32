"""Our own OpenAPI document as a promise: what it admits is never a 5xx, what it describes is what comes."""

from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.integration.api.conftest import FakeHost
from tests.scaffolding.app import services_of

from allod.api.application import create
from allod.api.feed import OpenFeeds
from allod.api.keys import KeyFile
from allod.api.settings import ApiSettings
from allod.core.card import ModelCard
from allod.core.events import (
    Accepted,
    ChoiceFinished,
    Event,
    Finished,
    ReasoningDelta,
    ScoredToken,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.core.hosting import HostedModel
from allod.core.request import Conversation, GenerationRequest
from allod.core.usage import Timings, Usage
from allod.testing.backend import FakeBackend
from allod.testing.catalog import MemoryCatalog
from allod.testing.models import tiny_card

pytestmark = pytest.mark.slow

BASE_URL = "http://127.0.0.1:8000"
TALKS = tiny_card("smollm2-135m")
EMBEDS = tiny_card("all-minilm-l6-v2", purpose="embedding")
SEED = 20_261_123
BODIES = 20
"""Made of each route."""

UNDERSTOOD = 0.1
"""Share of the bodies that must get an answer: refusals alone would prove little."""

REFERRING = ("/v1/batches", "/v1/batches/{batch_id}/cancel", "/v1/responses/{response_id}/cancel")
"""Whose requests name what an earlier one made."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def script(request: GenerationRequest, card: ModelCard) -> Iterator[Event]:
    """A thought, words and a call, as far as they were asked for, in every choice."""
    calls = isinstance(request.source, Conversation) and request.source.tools
    yield Accepted(3)
    for choice in range(request.choices):
        if request.reasoning == "field":
            yield ReasoningDelta(choice, "A city.")
        yield TextDelta(choice, "Paris", _scores(request))
        if calls:
            yield ToolCallStarted(choice, 0, f"call_{choice}", calls[0].name)
            yield ToolCallDelta(choice, 0, '{"city": "Paris"}')
            yield ToolCallFinished(choice, 0)
        yield ChoiceFinished(choice, "tool_calls" if calls else "stop")
    yield Finished(Usage(3, request.choices), Timings(0.0, 0.0, 0.0))


def _scores(request: GenerationRequest) -> tuple[ScoredToken, ...]:
    asked = request.sampling.top_logprobs
    token = TokenLogprob("Paris", b"Paris", -0.5)
    return () if asked is None else (ScoredToken(token, (token,) * min(asked, 1)),)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> schemathesis.BaseSchema:
    """The document, narrowed to what there is an answer to: refusals would hide what lies behind them."""
    host = FakeHost()
    host.models.append(HostedModel(TALKS.name, "ready"))
    backend = FakeBackend(lambda request, card: tuple(script(request, card)))
    services = services_of(MemoryCatalog(TALKS, EMBEDS), backend, host)
    keys = KeyFile(tmp_path_factory.mktemp("home") / "keys.json")
    app = create(ApiSettings(), services, keys, OpenFeeds())
    described = app.openapi()
    for name, part in described["components"]["schemas"].items():
        if name.endswith("Request") and "model" in part.get("properties", ()):
            embeds = name in ("EmbeddingsRequest", "RerankRequest")
            part["properties"]["model"] = {"const": EMBEDS.name if embeds else TALKS.name}
    turn = described["components"]["schemas"]["ChatMessage"]
    turn["properties"]["role"] = {"enum": ["system", "developer", "user"]}
    turn["properties"]["tool_calls"] = {"type": "null"}
    turn["properties"]["content"] = {"type": "string"}
    turn["required"] = ["role", "content"]
    schema = schemathesis.openapi.from_dict(described)
    schema.app = app
    return schema


def test_answers_keep_the_promise(document: schemathesis.BaseSchema, subtests: pytest.Subtests) -> None:
    """No 5xx; every answer has a status, a type and a shape that the document names."""
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        with subtests.test(operation.label):
            statuses = asked(operation)
            if operation.method == "post" and operation.path not in REFERRING:
                assert statuses[200] >= UNDERSTOOD * BODIES, statuses


def asked(operation: APIOperation) -> Counter[int]:
    """Ask for one operation in many ways; how often each status came."""
    statuses: Counter[int] = Counter()

    @seed(SEED)
    @given(case=operation.as_strategy())
    @settings(
        max_examples=BODIES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    def ask(case: schemathesis.Case) -> None:
        answer = case.call_and_validate(base_url=BASE_URL, checks=CHECKS)
        statuses[answer.status_code] += 1

    ask()
    return statuses
