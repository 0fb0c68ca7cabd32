"""Embed texts, and rank documents by how near they are to a query."""

import asyncio
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from allod.core.card import ModelCard
from allod.core.embedding import EmbeddingRequest, Embeddings
from allod.core.errors import InvalidRequest
from allod.core.ids import ModelName
from allod.core.ports import Embedder
from allod.service.catalog import CardSource


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document's place in the request, and its score."""

    index: int
    score: float


class EmbeddingService:
    """Resolve the model, then let it embed.

    Args:
        catalog: knows the models by name.
        embedder: embeds.
    """

    def __init__(self, catalog: CardSource, embedder: Embedder) -> None:
        self._catalog = catalog
        self._embedder = embedder

    def default(self) -> ModelName | None:
        """The model to use when a request names none: the only one that embeds, else nothing."""
        names = [card.name for card in self._catalog.cards() if card.purpose == "embedding"]
        return names[0] if len(names) == 1 else None

    async def embed(
        self, request: EmbeddingRequest, dimensions: int | None = None
    ) -> tuple[ModelCard, Embeddings]:
        """The model that embeds, and the vectors of all inputs.

        Args:
            request: what to embed.
            dimensions: how many of each vector's first numbers to keep; it then gets unit length again.

        Raises:
            InvalidRequest: the model does not embed, or has fewer dimensions.
            AllodError: an input cannot be embedded, or the model cannot be had.
        """
        card = self._catalog.named(request.model)
        if card.purpose != "embedding":
            raise InvalidRequest(
                f"model: '{card.name}' generates text and embeds none; name a model that embeds, "
                "as GET /v1/models lists them with the type `embeddings`",
                param="model",
            )
        found = await self._embedder.embed(request, card)
        if dimensions is None:
            return card, found
        vectors = await asyncio.to_thread(_all_shortened, found.vectors, dimensions)
        return card, Embeddings(vectors, found.tokens)

    async def rank(self, request: EmbeddingRequest) -> tuple[ModelCard, list[Ranked], int]:
        """Documents by their cosine to the query, nearest first, and the tokens that were read.

        The first input is the query, the others are the documents. Documents that are equally near
        keep their order.

        Raises:
            AllodError: as for `embed`.
        """
        card, found = await self.embed(request)
        return card, await asyncio.to_thread(ranking, found.vectors), found.tokens


def ranking(vectors: Sequence[bytes]) -> list[Ranked]:
    """The cosines of all vectors but the first to the first, largest first; equal ones keep their order."""
    query, *documents = map(numbers, vectors)
    ranked = [Ranked(index, math.fsum(map(mul, query, document))) for index, document in enumerate(documents)]
    return sorted(ranked, key=lambda one: -one.score)


def numbers(vector: bytes) -> Sequence[float]:
    """A vector's numbers."""
    return array("f", vector)


def shortened(vector: bytes, dimensions: int) -> bytes:
    """The first numbers of a vector, at unit length (Kusupati et al. 2022, arXiv 2205.13147).

    Raises:
        InvalidRequest: it has fewer.
    """
    whole = numbers(vector)
    if dimensions > len(whole):
        raise InvalidRequest(
            f"dimensions: {dimensions} is more than the model has; send at most {len(whole)}",
            param="dimensions",
        )
    kept = whole[:dimensions]
    length = math.sqrt(math.fsum(number * number for number in kept)) or 1.0
    return array("f", (number / length for number in kept)).tobytes()


def _all_shortened(vectors: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
    return tuple(shortened(vector, dimensions) for vector in vectors)
