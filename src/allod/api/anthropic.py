"""The Anthropic routes: decode, call the service, encode."""

from starlette.requests import Request
from starlette.responses import Response

from allod.api.generate import Generator
from allod.api.json_answer import json_answer
from allod.service.chat import ChatService
from allod.wire.anthropic.request import decode_count, decode_messages
from allod.wire.anthropic.whole import count_body


class AnthropicRoutes:
    """Handlers of `/v1/messages` and `/v1/messages/count_tokens`."""

    def __init__(self, generator: Generator, chat: ChatService) -> None:
        self._generator = generator
        self._chat = chat

    async def messages(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._generator.run(request, decode_messages)

    async def count_tokens(self, request: Request) -> Response:
        """Count the tokens of the prompt that a conversation would be answered from."""
        asked = await self._generator.decode(request, decode_count)
        return json_answer(count_body(await self._chat.count(asked)))
