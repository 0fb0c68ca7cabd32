"""Names are resolved in the catalogue, once, before anything runs."""

from collections.abc import Sequence

import pytest

from allod.core.card import ModelCard
from allod.core.errors import ModelNotFound
from allod.core.events import Accepted, Finished
from allod.core.hosting import HostedModel
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import GenerationRequest, RawText
from allod.core.usage import Timings, Usage
from allod.service.chat import ChatService
from allod.service.models import ModelService
from allod.testing.backend import FakeBackend
from allod.testing.models import tiny_card

FINISHED = Finished(Usage(1, 1), Timings(None, None, 0.0))


def card(name: str) -> ModelCard:
    return tiny_card(name, has_chat_template=False)


class Catalog:
    def __init__(self, *names: str) -> None:
        self._cards = tuple(map(card, names))

    def cards(self) -> Sequence[ModelCard]:
        return self._cards

    def named(self, name: str) -> ModelCard:
        for one in self._cards:
            if one.name == name:
                return one
        raise ModelNotFound(name)


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
    models = ModelService(Catalog("a", "b"), Host())
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
    found = ModelService(Catalog(*names), Host()).default()
    assert (found and found.name) == default


async def test_an_answer_comes_from_the_backend_with_the_named_card() -> None:
    """The card says which model answered; nothing runs before the first event is asked for."""
    backend = FakeBackend(lambda request, card: (Accepted(len(card.name)), FINISHED))
    found, events = ChatService(Catalog("abc"), backend).answer(request("abc"))
    assert found.name == "abc"
    assert backend.requests == []
    assert [event async for event in events] == [Accepted(3), FINISHED]


def test_an_unknown_name_reaches_no_backend() -> None:
    """The refusal comes at once, before there is an iterator."""
    backend = FakeBackend(lambda request, card: ())
    with pytest.raises(ModelNotFound):
        ChatService(Catalog("abc"), backend).answer(request("ab"))
    assert backend.requests == []
