"""Text to tokens and back, by a model's own tokenizer."""

from collections.abc import Sequence

from allod.core.card import ModelCard
from allod.core.errors import InvalidRequest
from allod.core.ids import TokenId
from allod.core.ports import PromptReader
from allod.core.request import GenerationRequest
from allod.service.catalog import CardSource


class TokenService:
    """Tokenise and detokenise; nothing is generated and no model is loaded."""

    def __init__(self, catalog: CardSource, prompts: PromptReader) -> None:
        self._catalog = catalog
        self._prompts = prompts

    async def tokens(self, request: GenerationRequest) -> tuple[TokenId, ...]:
        """The prompt of a request.

        Raises:
            AllodError: the request cannot be rendered, or its model is not in the catalogue.
        """
        return await self._prompts.tokens(request, self._card(request.model))

    async def text(self, model: str, tokens: Sequence[TokenId]) -> str:
        """The text of tokens, special tokens included.

        Raises:
            AllodError: a token is none of the model's, or the model is not in the catalogue.
        """
        return await self._prompts.text(self._card(model), tokens)

    def context_tokens(self, model: str) -> int:
        """The longest prompt plus answer of a model."""
        return self._card(model).context_tokens

    def _card(self, model: str) -> ModelCard:
        card = self._catalog.named(model)
        if card.purpose != "text":
            raise InvalidRequest(
                f"model: '{card.name}' embeds text, and its tokens are its own affair; name a model that "
                "generates text",
                param="model",
            )
        return card
