"""The OpenAI routes: decode, call the service, encode."""

from starlette.requests import Request
from starlette.responses import Response

from allod.api.generate import Generator
from allod.wire.openai.request import decode_chat, decode_completion


class OpenAIRoutes:
    """Handlers of `/v1/chat/completions` and `/v1/completions`."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def chat_completions(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._generator.run(request, decode_chat)

    async def completions(self, request: Request) -> Response:
        """Continue a text, without a chat template."""
        return await self._generator.run(request, decode_completion)
