"""Names are resolved in the catalogue, once, before anything runs."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import msgspec
import pytest

from allod.core.alias import Alias
from allod.core.card import ModelCard
from allod.core.errors import Busy, InvalidRequest, ModelNotFound
from allod.core.events import Accepted, ChoiceFinished, Event, Failed, Finished, TextDelta
from allod.core.hosting import HostedModel
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import Conversation, GenerationRequest, Message, RawText
from allod.core.usage import Timings, Usage
from allod.service.chat import ChatService
from allod.service.models import ModelService
from allod.testing.backend import Act, FakeBackend, Script
from allod.testing.catalog import MemoryCatalog
from allod.testing.models import tiny_card
from allod.testing.prompts import BytePromptReader

FINISHED = Finished(Usage(1, 1), Timings(None, None, 0.0))


def card(name: str) -> ModelCard:
    return tiny_card(name, has_chat_template=False)


def catalog(*names: str, aliases: Sequence[Alias] = ()) -> MemoryCatalog:
    return MemoryCatalog(*map(card, names), aliases=aliases)


class Host:
    def hosted(self) -> Sequence[HostedModel]:
        return (HostedModel(ModelName("b"), "ready"), HostedModel(ModelName("removed"), "ready"))

    async def inspect(self) -> Sequence[HostedModel]:
        return self.hosted()

    async def load(self, card: ModelCard) -> None:
        raise NotImplementedError


def request(model: str) -> GenerationRequest:
    return GenerationRequest(RequestId("r"), ModelName(model), RawText("hi"), TenantId("local"))


def test_models_are_those_of_the_catalogue_with_their_workers() -> None:
    """A model without a worker is listed; a worker without a catalogue entry is not."""
    models = ModelService(catalog("a", "b"), Host())
    assert [(one.name, hosted and hosted.phase) for one, hosted in models.all()] == [
        ("a", None),
        ("b", "ready"),
    ]
    assert models.one("a")[1] is None
    assert models.one("b")[1] == HostedModel(ModelName("b"), "ready")
    with pytest.raises(ModelNotFound):
        models.one("removed")


@pytest.mark.parametrize(("names", "default"), [((), None), (("a",), "a"), (("a", "b"), None)])
def test_only_a_single_model_is_a_default(names: tuple[str, ...], default: str | None) -> None:
    """Among several the client has to choose."""
    assert ModelService(catalog(*names), Host()).default() == default


async def test_an_answer_comes_from_the_backend_with_the_named_card() -> None:
    """The card says which model answered; nothing runs before the first event is asked for."""
    backend = FakeBackend(lambda request, card: (Accepted(len(card.name)), FINISHED))
    found, events = ChatService(catalog("abc"), backend, BytePromptReader()).answer(request("abc"))
    assert found.name == "abc"
    assert backend.requests == []
    assert [event async for event in events] == [Accepted(3), FINISHED]


def test_an_unknown_name_reaches_no_backend() -> None:
    """The refusal comes at once, before there is an iterator."""
    backend = FakeBackend(lambda request, card: ())
    with pytest.raises(ModelNotFound):
        ChatService(catalog("abc"), backend, BytePromptReader()).answer(request("ab"))
    assert backend.requests == []


async def test_an_alias_answers_with_its_model_and_fills_what_the_request_leaves_open() -> None:
    """A preference of the alias never overrules the request."""
    backend = FakeBackend(lambda request, card: (Accepted(1), FINISHED))
    cards = catalog("abc", aliases=[Alias("gpt", ModelName("abc"), reasoning="none", thinking=False)])
    chat = ChatService(cards, backend, BytePromptReader())
    talk = Conversation((Message("user", "hi"),))
    for asked in (replace(request("gpt"), source=talk), replace(request("gpt"), reasoning="inline")):
        found, events = chat.answer(asked)
        assert found.name == "abc"
        async for _ in events:
            pass
    first, second = backend.requests
    assert isinstance(first.source, Conversation)
    assert (first.reasoning, first.source.thinking) == ("none", False)
    assert (second.reasoning, second.source) == ("inline", RawText("hi"))


def test_a_model_that_embeds_does_not_chat() -> None:
    """The refusal names the way out."""
    embeds = msgspec.structs.replace(card("e"), purpose="embedding")
    chat = ChatService(MemoryCatalog(embeds), FakeBackend(lambda request, card: ()), BytePromptReader())
    with pytest.raises(InvalidRequest, match="/v1/embeddings"):
        chat.answer(request("e"))


def numbered(index: int) -> GenerationRequest:
    return replace(request("abc"), request=RequestId(f"r{index}"), choices=2)


async def answered(script: Script, count: int = 2) -> list[Event]:
    backend = FakeBackend(script)
    chat = ChatService(catalog("abc"), backend, BytePromptReader())
    _, events = chat.answer_all([numbered(index) for index in range(count)])
    async with aclosing(events):
        heard = [event async for event in events]
    assert backend.active == 0
    return heard


async def test_several_requests_are_one_answer_with_choices_numbered_through() -> None:
    """One Accepted and one Finished, each with the sums; deltas keep their order within a request."""
    heard = await answered(
        lambda request, card: (
            Accepted(3),
            TextDelta(0, request.request),
            TextDelta(1, "x"),
            ChoiceFinished(1, "stop"),
            ChoiceFinished(0, "stop"),
            Finished(Usage(3, 4), Timings(0.0, 0.1, 0.2)),
        )
    )
    assert heard[0] == Accepted(6)
    assert heard[-1] == Finished(Usage(6, 8), Timings(0.0, 0.1, 0.2))
    texts = {event.choice: event.text for event in heard if isinstance(event, TextDelta)}
    assert texts == {0: "r0", 1: "x", 2: "r1", 3: "x"}


async def test_of_several_requests_the_first_failure_ends_all() -> None:
    """Before all are accepted it is raised, after that it is the last event; the others are cancelled."""

    def refused(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Busy("full"),) if request.request == "r1" else (Accepted(1), asyncio.Event())

    with pytest.raises(Busy):
        await answered(refused)

    def broken(request: GenerationRequest, card: ModelCard) -> Sequence[Act]:
        return (Accepted(1), Busy("gone")) if request.request == "r1" else (Accepted(1), asyncio.Event())

    heard = await answered(broken)
    assert isinstance(heard[-1], Failed)
