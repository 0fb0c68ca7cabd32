"""Routes that count and spell tokens; nothing is generated and no model is loaded."""

from starlette.requests import Request
from starlette.responses import Response

from allod.api.generate import Generator
from allod.api.json_answer import json_answer
from allod.service.tokens import TokenService
from allod.wire.tokens import decode_detokenize, decode_tokenize, detokenized_body, tokenized_body


class TokenRoutes:
    """Handlers of `/tokenize` and `/detokenize`."""

    def __init__(self, generator: Generator, tokens: TokenService) -> None:
        self._generator = generator
        self._tokens = tokens

    async def tokenize(self, request: Request) -> Response:
        """The tokens of a text, or of a conversation as the model's template writes it."""
        asked = await self._generator.decode(request, decode_tokenize)
        tokens = await self._tokens.tokens(asked)
        return json_answer(tokenized_body(tokens, self._tokens.context_tokens(asked.model)))

    async def detokenize(self, request: Request) -> Response:
        """The text of tokens, special tokens included."""
        asked = await self._generator.decode(request, decode_detokenize)
        text = await self._tokens.text(asked.model, asked.tokens)
        return json_answer(detokenized_body(text))
