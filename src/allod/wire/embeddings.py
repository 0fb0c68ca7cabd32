"""Embeddings as OpenAI writes them, and ranking as Cohere and Jina write it, both directions."""

from array import array
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from pydantic import Discriminator, Field, Tag

from allod.core.embedding import EmbeddingRequest, Embeddings
from allod.core.errors import refused
from allod.core.ids import ModelName
from allod.wire.dialect import Envelope
from allod.wire.openai.request import validated
from allod.wire.openai.schema import TokenId, prompt_kind, schemas_of
from allod.wire.refusal import shown_name
from allod.wire.shape import Shape, Text

MAX_INPUTS = 2048
MAX_DIMENSIONS = 65_536


def _document_kind(value: object) -> str:
    return "#text" if isinstance(value, str) else "#object"


Row = Annotated[list[TokenId], Field(min_length=1)]


class EmbeddingsRequest(Shape):
    """Body of POST /v1/embeddings."""

    model: Text | None = Field(default=None, description="the name of a model that embeds")
    input: Annotated[
        Annotated[Text, Tag("#text")]
        | Annotated[list[Text], Field(max_length=MAX_INPUTS), Tag("#texts")]
        | Annotated[Row, Tag("#tokens")]
        | Annotated[list[Row], Field(max_length=MAX_INPUTS), Tag("#lists")],
        Discriminator(prompt_kind),
    ] = Field(
        description=f"a string, a list of token ids, or a list of at most {MAX_INPUTS} of either, not empty"
    )
    encoding_format: Literal["float", "base64"] | None = Field(default=None, description="float or base64")
    dimensions: int | None = Field(
        default=None, ge=1, le=MAX_DIMENSIONS, description="an integer from 1 to the model's dimensions"
    )


class DocumentShape(Shape):
    """A document as an object."""

    text: Text = Field(description="a string")


class RerankRequest(Shape):
    """Body of POST /v1/rerank."""

    model: Text | None = Field(default=None, description="the name of a model that embeds")
    query: Text = Field(description="a string")
    documents: Annotated[
        list[
            Annotated[
                Annotated[Text, Tag("#text")] | Annotated[DocumentShape, Tag("#object")],
                Discriminator(_document_kind),
            ]
        ],
        Field(min_length=1, max_length=MAX_INPUTS - 1),
    ] = Field(description='a list of strings, or of objects of the form {"text": "..."}')
    top_n: int | None = Field(default=None, ge=1, description="an integer, 1 or more")
    return_documents: bool | None = Field(default=None, description="true or false")


@dataclass(frozen=True, slots=True)
class EmbeddingsAsked:
    """A body of POST /v1/embeddings that was understood; `ignored` names fields without effect."""

    request: EmbeddingRequest
    base64: bool
    dimensions: int | None
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RerankAsked:
    """A body of POST /v1/rerank that was understood; `ignored` names fields without effect."""

    request: EmbeddingRequest
    documents: tuple[str, ...]
    top_n: int
    return_documents: bool
    ignored: tuple[str, ...]


def decode_embeddings(body: bytes, envelope: Envelope) -> EmbeddingsAsked:
    """A body of POST /v1/embeddings.

    Raises:
        InvalidRequest: it is wrong; names the field.
    """
    asked = validated(EmbeddingsRequest, body)
    inputs, fields = _inputs(asked.input)
    request = _request(asked.model, envelope, inputs, fields)
    return EmbeddingsAsked(request, asked.encoding_format == "base64", asked.dimensions, _ignored(asked))


def decode_rerank(body: bytes, envelope: Envelope) -> RerankAsked:
    """A body of POST /v1/rerank.

    Raises:
        InvalidRequest: it is wrong; names the field.
    """
    asked = validated(RerankRequest, body)
    documents = tuple(given if isinstance(given, str) else given.text for given in asked.documents)
    fields = ("query", *(f"documents[{index}]" for index in range(len(documents))))
    return RerankAsked(
        request=_request(asked.model, envelope, (asked.query, *documents), fields),
        documents=documents,
        top_n=min(asked.top_n or len(documents), len(documents)),
        return_documents=asked.return_documents is not False,
        ignored=_ignored(asked),
    )


def embeddings_body(model: str, found: Embeddings, *, base64: bool) -> bytes:
    """The answer: vectors in the order of the inputs."""
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, base64=base64)}
        for index, vector in enumerate(found.vectors)
    ]
    return msgspec.json.encode(
        {"object": "list", "data": data, "model": model, "usage": _usage(found.tokens)}
    )


def rerank_body(
    identifier: str, model: str, asked: RerankAsked, ranked: Iterable[tuple[int, float]], tokens: int
) -> bytes:
    """The answer: indices and scores, most relevant first."""
    results: list[dict[str, object]] = []
    for index, score in ranked:
        result: dict[str, object] = {"index": index, "relevance_score": score}
        if asked.return_documents:
            result["document"] = {"text": asked.documents[index]}
        results.append(result)
    return msgspec.json.encode(
        {
            "id": f"rerank-{identifier}",
            "object": "list",
            "model": model,
            "results": results[: asked.top_n],
            "usage": _usage(tokens),
            "meta": {"billed_units": {"search_units": 1}},
        }
    )


def components() -> dict[str, object]:
    """JSON schemas of both bodies and their parts, by name, for `components.schemas` of OpenAPI."""
    return schemas_of(EmbeddingsRequest, RerankRequest)


def _inputs(
    given: str | list[str] | list[int] | list[list[int]],
) -> tuple[tuple[str | tuple[int, ...], ...], tuple[str, ...]]:
    """The inputs, and the field that each came from."""
    if isinstance(given, str):
        return (given,), ("input",)
    row = tuple(item for item in given if isinstance(item, int))
    if row:
        return (row,), ("input",)
    inputs = tuple(tuple(item) if isinstance(item, list) else str(item) for item in given)
    return inputs, tuple(f"input[{index}]" for index in range(len(inputs)))


def _request(
    model: str | None, envelope: Envelope, inputs: tuple[str | tuple[int, ...], ...], fields: tuple[str, ...]
) -> EmbeddingRequest:
    name = envelope.default_model() if model is None else ModelName(model)
    if name is None:
        raise refused("model", "is missing; send the name of a model that embeds, as GET /v1/models lists it")
    return EmbeddingRequest(envelope.request, name, inputs, fields, envelope.tenant)


def _written(vector: bytes, *, base64: bool) -> str | list[float]:
    return b64encode(vector).decode() if base64 else array("f", vector).tolist()


def _usage(tokens: int) -> Mapping[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _ignored(asked: Shape) -> tuple[str, ...]:
    return tuple(sorted(shown_name(name) for name, value in asked.unknown.items() if value is not None))
