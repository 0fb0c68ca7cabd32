"""Answer generation requests."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from allod.core.card import ModelCard
from allod.core.errors import InvalidRequest
from allod.core.events import Event
from allod.core.ports import Backend, PromptReader
from allod.core.request import Conversation, GenerationRequest
from allod.service.catalog import CardSource
from allod.service.several import Part, merged


class ChatService:
    """Resolve the model, then let the backend generate.

    Args:
        catalog: knows the models by name.
        backend: generates.
        prompts: renders without generating.
    """

    def __init__(self, catalog: CardSource, backend: Backend, prompts: PromptReader) -> None:
        self._catalog = catalog
        self._backend = backend
        self._prompts = prompts

    def answer(self, request: GenerationRequest) -> tuple[ModelCard, AsyncGenerator[Event, None]]:
        """The model that answers, and its events; nothing runs before the first event is asked for.

        Raises:
            ModelNotFound: the request names a model that is not in the catalogue.
        """
        card = self._card(request)
        return card, self._backend.generate(self._preferred(request, card), card)

    def answer_all(
        self, requests: Sequence[GenerationRequest]
    ) -> tuple[ModelCard, AsyncGenerator[Event, None]]:
        """As `answer`, for several requests to one model; choices are numbered over all of them.

        Raises:
            ModelNotFound: the requests name a model that is not in the catalogue.
        """
        if len(requests) == 1:
            return self.answer(requests[0])
        card = self._card(requests[0])
        parts: list[Part] = []
        first_choice = 0
        for request in requests:
            parts.append(Part(self._backend.generate(self._preferred(request, card), card), first_choice))
            first_choice += request.choices
        return card, merged(parts)

    async def count(self, request: GenerationRequest) -> int:
        """Tokens of the prompt that this request would be answered from.

        Raises:
            AllodError: the request cannot be rendered, or its model is not in the catalogue.
        """
        card = self._card(request)
        return await self._prompts.count(self._preferred(request, card), card)

    def _card(self, request: GenerationRequest) -> ModelCard:
        card = self._catalog.named(request.model)
        if card.purpose != "text":
            raise InvalidRequest(
                f"model: '{card.name}' embeds text and does not generate any; "
                "send it to /v1/embeddings, or name another model",
                param="model",
            )
        return card

    def _preferred(self, request: GenerationRequest, card: ModelCard) -> GenerationRequest:
        """The request with what its alias prefers, where it says nothing itself."""
        is_own_name = card.name == request.model
        alias = None if is_own_name else self._catalog.alias(request.model)
        if alias is None:
            return request
        source = request.source
        if isinstance(source, Conversation) and source.thinking is None:
            source = replace(source, thinking=alias.thinking)
        return replace(request, source=source, reasoning=request.reasoning or alias.reasoning)
