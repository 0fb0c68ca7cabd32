"""The application over parts that a test chooses."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI

from allod.api.application import Services, create
from allod.api.feed import OpenFeeds
from allod.api.keys import KeyFile
from allod.api.lines import BatchLines
from allod.api.settings import ApiSettings
from allod.core.card import ModelCard
from allod.core.hosting import HostedModel
from allod.core.ports import Backend, ModelHost, PromptReader
from allod.service.batches import BatchService
from allod.service.catalog import CardSource
from allod.service.chat import ChatService
from allod.service.embeddings import EmbeddingService
from allod.service.files import FileService
from allod.service.models import ModelService
from allod.service.responses import ResponseService
from allod.service.settings import BatchSettings
from allod.service.status import StatusService
from allod.service.tokens import TokenService
from allod.testing.catalog import MemoryCatalog
from allod.testing.encoder import FakeEmbedder
from allod.testing.keeper import MemoryKeeper
from allod.testing.prompts import BytePromptReader


class NoHost:
    """A host of no models."""

    def hosted(self) -> Sequence[HostedModel]:
        return ()

    async def inspect(self) -> Sequence[HostedModel]:
        return ()

    async def load(self, card: ModelCard) -> None:
        raise NotImplementedError


def services_of(
    catalog: CardSource, backend: Backend, host: ModelHost | None = None, prompts: PromptReader | None = None
) -> Services:
    """The use cases, over what a test cares for."""
    host, prompts = host or NoHost(), prompts or BytePromptReader()
    chat, models, keeper = ChatService(catalog, backend, prompts), ModelService(catalog, host), MemoryKeeper()
    embeddings = EmbeddingService(catalog, FakeEmbedder())
    files = FileService(keeper, 86_400)
    lines = BatchLines(chat, models, embeddings)
    return Services(
        batches=BatchService(keeper, files, lines.run, BatchSettings()),
        chat=chat,
        embeddings=embeddings,
        files=files,
        models=models,
        responses=ResponseService(keeper),
        status=StatusService(host, [card.name for card in catalog.cards()][:1]),
        tokens=TokenService(catalog, prompts),
    )


def composed(home: Path, backend: Backend, prompts: PromptReader, *cards: ModelCard) -> FastAPI:
    """The whole application without a server."""
    services = services_of(MemoryCatalog(*cards), backend, prompts=prompts)
    return create(ApiSettings(), services, KeyFile(home / "keys.json"), OpenFeeds())
