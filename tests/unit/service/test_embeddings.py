"""Vectors for models that embed, shortened on request; documents ranked by cosine."""

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.core.embedding import EmbeddingRequest
from allod.core.errors import InvalidRequest, ModelNotFound
from allod.core.ids import ModelName, RequestId, TenantId
from allod.service.embeddings import EmbeddingService, numbers, ranking, shortened
from allod.testing.catalog import MemoryCatalog
from allod.testing.encoder import DIMENSIONS, FakeEmbedder, vector_of
from allod.testing.models import tiny_card


def service() -> EmbeddingService:
    cards = (tiny_card("writes"), tiny_card("reads", purpose="embedding"))
    return EmbeddingService(MemoryCatalog(*cards), FakeEmbedder())


def request(*inputs: str, model: str = "reads") -> EmbeddingRequest:
    fields = tuple(f"input[{index}]" for index in range(len(inputs)))
    return EmbeddingRequest(RequestId("r"), ModelName(model), inputs, fields, TenantId("t"))


async def test_inputs_become_vectors() -> None:
    """One each, in order, with the tokens of all."""
    card, found = await service().embed(request("a", "bc"))
    assert card.name == "reads"
    assert found.vectors == (vector_of(b"a"), vector_of(b"bc"))
    assert found.tokens == 3


async def test_a_model_that_generates_text_is_refused() -> None:
    """By name and purpose; an unknown name is unknown."""
    with pytest.raises(InvalidRequest, match="'writes' generates text") as caught:
        await service().embed(request("a", model="writes"))
    assert caught.value.param == "model"
    with pytest.raises(ModelNotFound):
        await service().embed(request("a", model="none"))


async def test_fewer_dimensions() -> None:
    """The first numbers, at unit length; more than there are is refused."""
    _, found = await service().embed(request("abc"), 4)
    assert len(numbers(found.vectors[0])) == 4
    with pytest.raises(InvalidRequest, match=f"send at most {DIMENSIONS}"):
        await service().embed(request("abc"), DIMENSIONS + 1)


@given(
    vector=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8),
    dimensions=st.integers(1, 8),
)
def test_a_shortened_vector_has_unit_length(vector: list[float], dimensions: int) -> None:
    """Unless all that is left is zero; its direction is that of the first numbers."""
    if dimensions > len(vector):
        return
    kept = numbers(shortened(array("f", vector).tobytes(), dimensions))
    length = math.hypot(*vector[:dimensions])
    assert len(kept) == dimensions
    if length > 1e-30:
        assert math.isclose(math.hypot(*kept), 1.0, rel_tol=1e-5)
        for number, before in zip(kept, vector, strict=False):
            assert math.isclose(number, before / length, rel_tol=1e-5, abs_tol=1e-6)


async def test_documents_are_ranked_by_cosine() -> None:
    """Nearest first, scores are cosines, and equally near ones keep their order."""
    _, ranked, tokens = await service().rank(request("ab", "xyz", "ab", "a", "ba"))
    assert [one.index for one in ranked] == [1, 3, 2, 0]
    assert math.isclose(ranked[0].score, 1.0, rel_tol=1e-6)
    assert math.isclose(ranked[2].score, 2**-0.5, rel_tol=1e-6)
    assert tokens == 10


def test_a_query_alone_ranks_nothing() -> None:
    """No documents, no scores."""
    assert ranking([vector_of(b"a")]) == []
