"""Bodies of embeddings and ranking, and their answers, against the SDK's own types."""

import base64
import json
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from allod.core.embedding import Embeddings
from allod.core.errors import InvalidRequest
from allod.core.ids import RequestId, TenantId
from allod.wire.dialect import Envelope
from allod.wire.embeddings import (
    MAX_INPUTS,
    EmbeddingsAsked,
    components,
    decode_embeddings,
    decode_rerank,
    embeddings_body,
    rerank_body,
)
from allod.wire.openai.errors import error_body

ENVELOPE = Envelope(RequestId("req-1"), TenantId("t"), lambda: None)
VECTORS = (array("f", (0.6, 0.8)).tobytes(), array("f", (1.0, 0.0)).tobytes())


def decoded(**fields: object) -> EmbeddingsAsked:
    return decode_embeddings(json.dumps({"model": "m", **fields}).encode(), ENVELOPE)


def refusal(decode: Any, **fields: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(json.dumps({"model": "m", **fields}).encode(), ENVELOPE)
    return caught.value


@pytest.mark.parametrize(
    ("given", "inputs", "fields"),
    [
        ("a", ("a",), ("input",)),
        ("", ("",), ("input",)),
        (["a", "b"], ("a", "b"), ("input[0]", "input[1]")),
        ([101, 102], ((101, 102),), ("input",)),
        ([[1], [2, 3]], ((1,), (2, 3)), ("input[0]", "input[1]")),
    ],
)
def test_all_forms_of_input(given: object, inputs: tuple[object, ...], fields: tuple[str, ...]) -> None:
    """A text, texts, a row of ids, rows of ids; each input knows its field."""
    request = decoded(input=given).request
    assert (request.inputs, request.fields) == (inputs, fields)


def test_what_is_asked_of_the_answer() -> None:
    """Its encoding, its dimensions, and the fields without effect."""
    asked = decoded(input="a", encoding_format="base64", dimensions=2, user="u")
    assert (asked.base64, asked.dimensions, asked.ignored) == (True, 2, ("user",))
    assert not decoded(input="a").base64


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [[]]}, "input[0]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"input": [-1]}, "input[0]"),
        ({"input": "\0"}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "model": None}, "model"),
    ],
)
def test_a_wrong_body_is_refused(fields: dict[str, object], param: str) -> None:
    """With the field's name."""
    assert refusal(decode_embeddings, **fields).param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": "a"}, "documents"),
        ({"query": "a", "documents": []}, "documents"),
        ({"query": "a", "documents": [{"title": "t"}]}, "documents[0].text"),
        ({"query": "a", "documents": [1]}, "documents[0]"),
        ({"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
    ],
)
def test_a_wrong_ranking_is_refused(fields: dict[str, object], param: str) -> None:
    """With the field's name."""
    assert refusal(decode_rerank, **fields).param == param


def test_vectors_as_the_sdk_reads_them() -> None:
    """Numbers, or base64 of little-endian float32; strictly valid."""
    found = Embeddings(VECTORS, 7)
    body = embeddings_body("m", found, base64=False)
    answer = CreateEmbeddingResponse.model_validate_json(body, strict=True)
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.data[0].embedding == pytest.approx([0.6, 0.8])
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 7)
    packed = json.loads(embeddings_body("m", found, base64=True))["data"][0]["embedding"]
    assert base64.b64decode(packed) == VECTORS[0]


def test_a_ranking_and_its_answer() -> None:
    """Documents as strings and objects; the best ones first, as many as were asked for."""
    body = {"model": "m", "query": "q", "documents": ["a", {"text": "b"}, "c"], "top_n": 2}
    asked = decode_rerank(json.dumps(body).encode(), ENVELOPE)
    assert asked.request.inputs == ("q", "a", "b", "c")
    assert asked.request.fields == ("query", "documents[0]", "documents[1]", "documents[2]")
    answer = json.loads(rerank_body("1", "m", asked, [(1, 0.9), (0, 0.5), (2, 0.1)], 9))
    assert answer["results"] == [
        {"index": 1, "relevance_score": 0.9, "document": {"text": "b"}},
        {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}},
    ]
    plain = decode_rerank(json.dumps({**body, "return_documents": False}).encode(), ENVELOPE)
    assert json.loads(rerank_body("1", "m", plain, [(0, 0.5)], 9))["results"] == [
        {"index": 0, "relevance_score": 0.5}
    ]


def test_more_than_there_are_is_all() -> None:
    """A top_n beyond the documents asks for every one."""
    body = {"model": "m", "query": "q", "documents": ["a"], "top_n": 9}
    assert decode_rerank(json.dumps(body).encode(), ENVELOPE).top_n == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


@given(
    body=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("model", "input", "dimensions", "encoding_format", "query", "documents", "top_n"), values
        ),
    )
)
def test_any_body_is_decoded_or_refused(body: dict[str, object]) -> None:
    """Nothing but InvalidRequest comes out of either route's decoder."""
    for decode in (decode_embeddings, decode_rerank):
        try:
            decode(json.dumps(body).encode(), ENVELOPE)
        except InvalidRequest as found:
            json.loads(error_body(found))


def test_the_description_of_the_bodies_is_whole() -> None:
    """Both bodies are described by name."""
    assert {"EmbeddingsRequest", "RerankRequest", "DocumentShape"} <= set(components())
