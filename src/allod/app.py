"""The gateway put together: the only module that names concrete classes of all rooms."""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import FastAPI

from allod.api.application import Services, create
from allod.api.feed import OpenFeeds
from allod.api.keys import KeyFile
from allod.api.lines import BatchLines
from allod.api.listen import OnListening, run
from allod.config import Settings, WorkerSettings
from allod.core.card import ModelCard
from allod.core.errors import AllodError, ConfigurationError, ModelNotFound
from allod.core.ports import ModelHost
from allod.local.backend import LocalBackend
from allod.local.embedding import LocalEmbedder
from allod.local.pictures import LocalPictures
from allod.local.process import WorkerCommand
from allod.local.render import PromptRenderer
from allod.local.residency import Residency
from allod.registry.catalog import Catalog
from allod.service.batches import BatchService
from allod.service.chat import ChatService
from allod.service.embeddings import EmbeddingService
from allod.service.files import FileService
from allod.service.models import ModelService
from allod.service.responses import ResponseService
from allod.service.status import StatusService
from allod.service.tokens import TokenService
from allod.store.sqlite import SqliteKeeper

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """The application, and the answers it has open."""

    app: FastAPI
    feeds: OpenFeeds


def worker_command(settings: Settings, catalog: Catalog, purpose: str | None = None) -> WorkerCommand:
    """How to start a process for a model; its purpose is the model's own unless another is named."""
    encoded = WorkerSettings.of(settings).to_json()

    def command(card: ModelCard) -> Sequence[str]:
        model = ("--model", str(catalog.folder(card)))
        context = ("--context-tokens", str(card.context_tokens))
        doing = ("--purpose", purpose or card.purpose)
        measured = ("--measured", str(settings.measured_file(card.name)))
        prefixes = ("--prefixes", str(settings.prefix_folder(card.name)))
        draft = _drafting(catalog, card) if purpose is None else ()
        what = (*model, "--settings", encoded, *context, *doing, *measured, *prefixes, *draft)
        return (sys.executable, "-m", "allod.worker", *what)

    return command


def _drafting(catalog: Catalog, card: ModelCard) -> Sequence[str]:
    """The model that drafts for another; one that is not here any more is the worker's to complain of."""
    folder = catalog.draft_folder(card)
    if folder is None:
        return ()
    context = (str(other.context_tokens) for other in catalog.cards() if other.name == card.draft)
    return ("--draft", str(folder), *(word for each in context for word in ("--draft-context-tokens", each)))


Workers = Callable[[Settings, Catalog], WorkerCommand]
"""Which program answers for models; `worker_command` unless someone measures the gateway alone."""


def compose(settings: Settings, workers: Workers = worker_command) -> Gateway:
    """Everything of the gateway, wired but not started.

    Raises:
        ConfigurationError: a model to preload is not in the catalogue, or the door is left open.
    """
    catalog = Catalog(settings.models_folder)
    resident = preloaded(settings, catalog)
    residency = Residency(workers(settings, catalog), settings.local)
    pictures = LocalPictures(worker_command(settings, catalog, "pictures"), settings.local, settings.media)
    prompts = PromptRenderer(catalog.folder, settings.prompts, pictures)
    backend = LocalBackend(residency, prompts, settings.local, pictures)
    embedder = LocalEmbedder(residency, catalog.folder)
    keeper = SqliteKeeper(settings.store_file, settings.store)
    chat = ChatService(catalog, backend, prompts)
    models = ModelService(catalog, residency)
    embeddings = EmbeddingService(catalog, embedder)
    files = FileService(keeper, settings.store.retention_seconds)
    lines = BatchLines(chat, models, embeddings)
    batches = BatchService(keeper, files, lines.run, settings.batches)
    services = Services(
        batches=batches,
        chat=chat,
        embeddings=embeddings,
        files=files,
        models=models,
        responses=ResponseService(keeper),
        tokens=TokenService(catalog, prompts),
        status=StatusService(residency, [card.name for card in resident]),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        await keeper.start()
        await batches.start()
        loading = asyncio.create_task(preload(residency, prompts.prepare, resident))
        try:
            yield
        finally:
            loading.cancel()
            with suppress(asyncio.CancelledError):
                await loading
            await batches.close()
            await residency.close()
            await pictures.close()
            prompts.close()
            embedder.close()
            await keeper.close()

    feeds = OpenFeeds(settings.api.max_unread_events)
    keys = KeyFile(settings.keys_file)
    return Gateway(create(settings.api, services, keys, feeds, lifespan), feeds)


def build(settings: Settings) -> FastAPI:
    """The application alone, for any ASGI server."""
    return compose(settings).app


def log_address(url: str) -> None:
    """What `serve` does with the base URL when nobody else wants it."""
    _log.info("listening on %s", url)


def serve(
    settings: Settings, on_listening: OnListening = log_address, workers: Workers = worker_command
) -> int:
    """Serve until SIGINT or SIGTERM; 0 when the stop was orderly.

    Args:
        settings: of every room.
        on_listening: told the base URL once connections are accepted.
        workers: which program answers for models.

    Raises:
        ConfigurationError: the port is taken, or a setting does not fit this machine.
    """
    logging.basicConfig(level=settings.api.log_level.upper(), format=_LOG_FORMAT)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its greetings are not ours
    gateway = compose(settings, workers)
    return run(gateway.app, settings.api, gateway.feeds, on_listening)


def preloaded(settings: Settings, catalog: Catalog) -> tuple[ModelCard, ...]:
    """The models that must be resident: those the owner named, else the only one there is.

    Raises:
        ConfigurationError: one is not in the catalogue, or there are more than may be resident.
    """
    named = settings.api.preload
    if not named:
        cards = tuple(card for card in catalog.cards() if card.purpose == "text")
        return cards if len(cards) == 1 else ()
    if len(named) > settings.local.max_resident_models:
        raise ConfigurationError(
            f"api.preload names {len(named)} models, but local.max_resident_models is "
            f"{settings.local.max_resident_models}; name fewer, or raise that limit."
        )
    try:
        return tuple(catalog.named(name) for name in named)
    except ModelNotFound as error:
        raise ConfigurationError(f"api.preload: {error.message}") from error


async def preload(
    host: ModelHost, prepare: Callable[[ModelCard], Coroutine[None, None, None]], cards: Sequence[ModelCard]
) -> None:
    """Load models one after the other, and beside each what reads and renders for it.

    One that cannot be loaded does not keep the others waiting.

    Args:
        host: loads.
        prepare: makes ready what a model that generates needs outside of its worker.
        cards: the models.
    """
    for card in cards:
        works = [host.load(card), *([prepare(card)] if card.purpose == "text" else [])]
        for error in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(error, AllodError):
                _log.error("model %s is not loaded: %s", card.name, error.message)
            elif error is not None:
                _log.error("model %s is not loaded", card.name, exc_info=error)
