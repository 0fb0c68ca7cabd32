"""An encoder and an embedder that need no model: a vector tells which tokens a row holds."""

import math
from array import array
from collections.abc import Callable, Sequence

from allod.core.card import ModelCard
from allod.core.embedding import EmbeddingRequest, Embeddings
from allod.core.errors import InvalidRequest
from allod.core.ids import TokenId
from allod.core.step import MemoryReading, ModelFacts
from allod.testing.models import tiny_facts

DIMENSIONS = 16


def vector_of(row: Sequence[TokenId]) -> bytes:
    """How often the row has tokens of each remainder, at unit length."""
    counts = [0.0] * DIMENSIONS
    for token in row:
        counts[token % DIMENSIONS] += 1.0
    length = math.hypot(*counts)
    return array("f", (count / length for count in counts)).tobytes()


class FakeEncoder:
    """An `Encoder` over `vector_of`.

    Args:
        before: called with every batch before it is computed.

    Attributes:
        batches: the lengths of the rows of every batch, in order.
    """

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.batches: list[list[int]] = []
        self._before = before

    @property
    def facts(self) -> ModelFacts:
        """Those of the tiny model."""
        return tiny_facts()

    def embed(self, rows: Sequence[Sequence[TokenId]]) -> Sequence[bytes]:
        """One vector per row."""
        self._before()
        self.batches.append([len(row) for row in rows])
        return [vector_of(row) for row in rows]

    def memory(self) -> MemoryReading:
        """Nothing at all."""
        return MemoryReading(0, 0, 0)


class FakeEmbedder:
    """An `Embedder` whose tokens are bytes.

    Attributes:
        requests: every request that came in.
    """

    def __init__(self) -> None:
        self.requests: list[EmbeddingRequest] = []

    async def embed(self, request: EmbeddingRequest, card: ModelCard) -> Embeddings:
        """The vectors of all inputs.

        Raises:
            InvalidRequest: an input has no tokens.
        """
        self.requests.append(request)
        rows = [given.encode() if isinstance(given, str) else given for given in request.inputs]
        for row, field in zip(rows, request.fields, strict=True):
            if not row:
                raise InvalidRequest(f"{field}: has no tokens; send at least one", param=field)
        return Embeddings(tuple(vector_of(tuple(row)) for row in rows), sum(map(len, rows)))
