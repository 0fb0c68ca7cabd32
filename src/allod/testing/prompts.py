"""A prompt reader for which a byte is a token."""

from collections.abc import Sequence

from allod.core.card import ModelCard
from allod.core.ids import TokenId
from allod.core.request import Conversation, GenerationRequest, Infill, RawText, RawTokens
from allod.testing.codec import ByteCodec


class BytePromptReader:
    """A `PromptReader`: the prompt of a conversation is the bytes of its messages, one after another."""

    def __init__(self) -> None:
        self._codec = ByteCodec()

    async def tokens(self, request: GenerationRequest, card: ModelCard) -> tuple[TokenId, ...]:
        """The bytes of the prompt."""
        match request.source:
            case Conversation(messages=messages):
                text = "".join(message.content for message in messages)
            case RawText(text=text):
                pass
            case Infill(prefix=prefix, suffix=suffix):
                text = prefix + suffix
            case RawTokens(tokens=tokens):
                return tokens
        return self._codec.encode(text, special=False)

    async def count(self, request: GenerationRequest, card: ModelCard) -> int:
        """How many bytes the prompt has."""
        return len(await self.tokens(request, card))

    async def text(self, card: ModelCard, tokens: Sequence[TokenId]) -> str:
        """The text of these bytes."""
        return self._codec.decode(tokens)
