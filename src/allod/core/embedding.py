"""Texts to vectors: what is asked and what comes back."""

from dataclasses import dataclass

from allod.core.ids import ModelName, RequestId, TenantId, TokenId


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to embed.

    Attributes:
        request: id of this request.
        model: catalogue key asked for.
        inputs: texts, or token ids that are used as they are, special tokens included.
        fields: for each input the request field it came from, for refusals.
        tenant: who asks.
    """

    request: RequestId
    model: ModelName
    inputs: tuple[str | tuple[TokenId, ...], ...]
    fields: tuple[str, ...]
    tenant: TenantId


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of all inputs, in their order.

    Attributes:
        vectors: each is unit length, as little-endian float32.
        tokens: tokens of all inputs together, special ones included.
    """

    vectors: tuple[bytes, ...]
    tokens: int
