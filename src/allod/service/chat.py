"""Answer a generation request."""

from collections.abc import AsyncIterator

from allod.core.card import ModelCard
from allod.core.events import Event
from allod.core.ports import Backend
from allod.core.request import GenerationRequest
from allod.service.catalog import CardSource


class ChatService:
    """Resolve the model, then let the backend generate."""

    def __init__(self, catalog: CardSource, backend: Backend) -> None:
        self._catalog = catalog
        self._backend = backend

    def answer(self, request: GenerationRequest) -> tuple[ModelCard, AsyncIterator[Event]]:
        """The model that answers, and its events; nothing runs before the first event is asked for.

        Raises:
            ModelNotFound: the request names a model that is not in the catalogue.
        """
        card = self._catalog.named(request.model)
        return card, self._backend.generate(request, card)
