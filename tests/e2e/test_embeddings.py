"""A real encoder through the real server: all-MiniLM-L6-v2 beside a model that talks."""

import base64
import shutil
import struct
from collections.abc import Iterator
from math import sqrt
from pathlib import Path

import httpx2
import openai
import pytest
from tests.e2e.conftest import KEPT_HOME
from tests.scaffolding.server import RunningServer, running_server
from tests.scaffolding.turns import one_at_a_time
from tokenizers import Tokenizer

from allod.registry.catalog import Catalog
from allod.registry.minilm import MINILM_NAME
from allod.registry.pull import pull

pytestmark = pytest.mark.model

TEXTS = ["A dog runs in the park.", "A puppy plays on the grass.", "Interest rates rose again."]
DIMENSIONS = 384
SMALL = "llama"


@pytest.fixture(scope="module")
def home(small_home: Path) -> Path:
    """A home of its own, kept between runs: the encoder, and a small model."""
    home = KEPT_HOME.with_name("test-home-encoder")
    catalog = Catalog(home / "models")
    with one_at_a_time(home):
        if not catalog.holds(SMALL):
            shutil.copytree(small_home / "models" / SMALL, home / "models" / SMALL)
        if not catalog.holds(MINILM_NAME):
            pull(catalog, MINILM_NAME, None, lambda _: None)
    return home


@pytest.fixture(scope="module")
def server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(home, tmp_path_factory.mktemp("embeddings") / "log") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key="any", max_retries=0) as made:
        yield made


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_near_texts_have_near_vectors(client: openai.OpenAI) -> None:
    """Unit vectors of the model's width; dogs are nearer to puppies than to interest rates."""
    answer = client.embeddings.create(model=MINILM_NAME, input=TEXTS, encoding_format="float")
    dog, puppy, rates = (item.embedding for item in answer.data)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert len(dog) == DIMENSIONS
    assert sqrt(cosine(dog, dog)) == pytest.approx(1, abs=1e-5)
    assert cosine(dog, puppy) > 0.3 > 0.15 > cosine(dog, rates)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 15


def test_every_form_of_input_and_output_agrees(client: openai.OpenAI, home: Path) -> None:
    """Base64 is the SDK's default; token arrays are what some clients send; a shorter vector has length 1."""
    plain = client.embeddings.create(model=MINILM_NAME, input=TEXTS[0], encoding_format="float")
    coded = client.embeddings.create(model=MINILM_NAME, input=TEXTS[0], encoding_format="base64")
    raw = base64.b64decode(str(coded.data[0].embedding))
    assert struct.unpack(f"<{DIMENSIONS}f", raw) == pytest.approx(plain.data[0].embedding, abs=1e-6)
    tokenizer = Tokenizer.from_file(str(home / "models" / MINILM_NAME / "tokenizer.json"))
    tokenizer.no_padding()
    tokens = tokenizer.encode(TEXTS[0]).ids
    by_tokens = client.embeddings.create(model=MINILM_NAME, input=tokens, encoding_format="float")
    assert by_tokens.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-5)
    short = client.embeddings.create(
        model=MINILM_NAME, input=TEXTS[0], dimensions=64, encoding_format="float"
    )
    assert cosine(short.data[0].embedding, short.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert len(short.data[0].embedding) == 64


def test_documents_are_ranked(server: RunningServer) -> None:
    """The nearest first, cut to `top_n`, with the documents when asked for."""
    body = {
        "model": MINILM_NAME,
        "query": "pets",
        "documents": TEXTS,
        "top_n": 2,
        "return_documents": True,
    }
    results = httpx2.post(f"{server.base_url}/v1/rerank", json=body, timeout=30).json()["results"]
    assert {result["index"] for result in results} == {0, 1}
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
    assert results[0]["document"]["text"] == TEXTS[results[0]["index"]]


def test_models_do_what_they_are_for(client: openai.OpenAI) -> None:
    """Each refusal names the other kind's route."""
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
        client.chat.completions.create(model=MINILM_NAME, messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(openai.BadRequestError, match="embeds none"):
        client.embeddings.create(model=SMALL, input="hi")
    with pytest.raises(openai.BadRequestError, match="generates text"):
        client.post("/tokenize", body={"model": MINILM_NAME, "prompt": "hi"}, cast_to=object)
    with pytest.raises(openai.BadRequestError, match="512"):
        client.embeddings.create(model=MINILM_NAME, input="word " * 2000)
