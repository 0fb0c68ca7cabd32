"""Tokenise and detokenise, in the shapes that vLLM and llama.cpp made usual."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from pydantic import Field

from allod.core.errors import refused
from allod.core.ids import ModelName, TokenId
from allod.core.request import GenerationRequest, RawText
from allod.wire.body import parse_object
from allod.wire.dialect import Envelope
from allod.wire.openai.request import decode_chat, model_of, validated
from allod.wire.openai.schema import TokenId as TokenShape
from allod.wire.shape import Shape, Text

_MODEL = "the name of a model, as GET /v1/models lists it"


class TokenizeRequest(Shape):
    """Body of POST /tokenize: a text, or the messages and tools of a chat."""

    model: Text | None = Field(default=None, description=_MODEL)
    prompt: Text | None = Field(default=None, description="a string")
    content: Text | None = Field(default=None, description="a string")
    add_special_tokens: bool | None = Field(default=None, description="true or false")


class DetokenizeRequest(Shape):
    """Body of POST /detokenize."""

    model: Text | None = Field(default=None, description=_MODEL)
    tokens: list[TokenShape] = Field(description="a list of token ids")


@dataclass(frozen=True, slots=True)
class Detokenize:
    """Tokens to write out."""

    model: ModelName
    tokens: tuple[TokenId, ...]


def decode_tokenize(body: bytes, envelope: Envelope) -> GenerationRequest:
    """A body of POST /tokenize; the prompt of the request is what is to be tokenised.

    Raises:
        InvalidRequest: it is wrong; names the field.
    """
    if parse_object(body).get("messages") is not None:
        return decode_chat(body, envelope).requests[0]
    asked = validated(TokenizeRequest, body)
    text = asked.content if asked.prompt is None else asked.prompt
    if text is None:
        raise refused("prompt", "is missing; send a string, or messages")
    return GenerationRequest(
        request=envelope.request,
        model=model_of(asked.model, envelope),
        source=RawText(text, special=asked.add_special_tokens is not False),
        tenant=envelope.tenant,
    )


def decode_detokenize(body: bytes, envelope: Envelope) -> Detokenize:
    """A body of POST /detokenize.

    Raises:
        InvalidRequest: it is wrong; names the field.
    """
    asked = validated(DetokenizeRequest, body)
    return Detokenize(model_of(asked.model, envelope), tuple(asked.tokens))


def tokenized_body(tokens: Sequence[TokenId], context_tokens: int) -> bytes:
    """Answer of POST /tokenize; `max_model_len` is the longest prompt plus answer."""
    return msgspec.json.encode({"count": len(tokens), "max_model_len": context_tokens, "tokens": tokens})


def detokenized_body(text: str) -> bytes:
    """Answer of POST /detokenize, under the names of both servers."""
    return msgspec.json.encode({"prompt": text, "content": text})
