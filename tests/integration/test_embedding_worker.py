"""Embedding from text to vector through a real worker process, against the same computation in numpy."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.scaffolding import bert

from allod.app import worker_command
from allod.config import Settings
from allod.core.card import ModelCard
from allod.core.embedding import EmbeddingRequest
from allod.core.errors import InvalidRequest, ModelUnavailable
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.messages import Refused
from allod.local.embedding import LocalEmbedder
from allod.local.residency import Residency
from allod.registry.catalog import Catalog
from allod.registry.importing import import_path
from allod.registry.progress import ignore_progress
from allod.service.embeddings import EmbeddingService
from allod.testing.models import submission

pytestmark = pytest.mark.mlx
_numbers = itertools.count()


@dataclass
class House:
    catalog: Catalog
    residency: Residency
    service: EmbeddingService

    def ask(self, *inputs: str, model: str = "small-bert") -> EmbeddingRequest:
        fields = tuple(f"input[{index}]" for index in range(len(inputs)))
        return EmbeddingRequest(
            RequestId(f"r{next(_numbers)}"), ModelName(model), inputs, fields, TenantId("t")
        )

    @property
    def card(self) -> ModelCard:
        return self.catalog.named("small-bert")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    settings = Settings(home=tmp_path / "home")
    catalog = Catalog(settings.models_folder)
    bert.write_bert(tmp_path / "small-bert", pooling="cls")
    import_path(catalog, tmp_path / "small-bert", None, ignore_progress)
    residency = Residency(worker_command(settings, catalog), settings.local)
    embedder = LocalEmbedder(residency, catalog.folder)
    try:
        yield House(catalog, residency, EmbeddingService(catalog, embedder))
    finally:
        await residency.close()
        embedder.close()


async def test_texts_become_the_vectors_that_numpy_computes(house: House) -> None:
    """Within 1e-5, with the checkpoint's own pooling; several requests at once do not mix."""
    texts = ("a b c", "z", "", "k l m n o p q r s t u v w x y z a b c d e f")
    asked = [house.service.embed(house.ask(*texts)), house.service.embed(house.ask(*reversed(texts)))]
    (_, found), (_, backwards) = await asyncio.gather(*asked)
    letters = {letter: index for index, letter in enumerate(bert.WORDS)}
    for text, vector, other in zip(texts, found.vectors, reversed(backwards.vectors), strict=True):
        row = [2, *(letters[letter] for letter in text.split()), 3]
        wanted = bert.expected(house.catalog.folder(house.card), row, pooling="cls")
        assert np.abs(np.frombuffer(vector, "<f4") - wanted).max() < 1e-5
        assert np.abs(np.frombuffer(other, "<f4") - wanted).max() < 1e-5
    (hosted,) = house.residency.hosted()
    assert hosted.facts is not None
    assert (hosted.facts.context_tokens, hosted.facts.compute) == (24, "dense float32")


async def test_a_worker_that_embeds_refuses_to_generate(house: House) -> None:
    """Whatever gets past the gateway's own check."""
    async with house.residency.lease(house.card) as link:
        with link.open(submission()) as mailbox:
            refused = await mailbox.next()
    assert isinstance(refused, Refused)
    assert "generates none" in refused.message


async def test_a_model_that_cannot_be_loaded_says_why(house: House) -> None:
    """The reason of the worker reaches whoever asked."""
    path = house.catalog.folder(house.card) / "config.json"
    path.write_text(path.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(ModelUnavailable, match="activation 'relu'"):
        await house.service.embed(house.ask("a"))


async def test_a_text_that_is_too_long_is_refused(house: House) -> None:
    """By name, before any worker is started."""
    with pytest.raises(InvalidRequest, match="25 tokens") as caught:
        await house.service.embed(house.ask("a", "a " * 23))
    assert caught.value.param == "input[1]"
    assert house.residency.hosted() == ()
