"""Put the routes behind the gate."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from allod.api.access import Access
from allod.api.anthropic import AnthropicRoutes
from allod.api.arrival import Arrival
from allod.api.batches import BatchRoutes
from allod.api.crowd import Crowd
from allod.api.doors import (
    Door,
    anthropic_doors,
    batch_doors,
    embedding_doors,
    file_doors,
    model_doors,
    openai_doors,
    response_doors,
    status_doors,
    token_doors,
)
from allod.api.embeddings import EmbeddingRoutes
from allod.api.errors import answer_allod_error, answer_http_exception
from allod.api.exchange import ExchangeBorder
from allod.api.feed import OpenFeeds
from allod.api.files import FileRoutes
from allod.api.generate import Generator
from allod.api.guard import Guard
from allod.api.hosts import HostList, OriginList
from allod.api.keys import KeyFile
from allod.api.models import ModelRoutes
from allod.api.openai import OpenAIRoutes
from allod.api.openapi import ERRORS, DescribedApp
from allod.api.paths import PathNormaliser
from allod.api.responses import ResponsesRoutes
from allod.api.settings import ApiSettings
from allod.api.status import StatusRoutes
from allod.api.status import components as status_components
from allod.api.tokens import TokenRoutes
from allod.api.websocket import ResponsesSocket
from allod.core.errors import AllodError
from allod.service.batches import BatchService
from allod.service.chat import ChatService
from allod.service.embeddings import EmbeddingService
from allod.service.files import FileService
from allod.service.models import ModelService
from allod.service.responses import ResponseService
from allod.service.status import StatusService
from allod.service.tokens import TokenService
from allod.version import __version__
from allod.wire import batches as batches_schema
from allod.wire import embeddings as embeddings_schema
from allod.wire import files as files_schema
from allod.wire.anthropic import schema as anthropic_schema
from allod.wire.anthropic.answers import ANSWERS
from allod.wire.openai.answers import SCHEMAS
from allod.wire.openai.schema import ChatCompletionRequest, CompletionRequest, schemas_of
from allod.wire.responses import schema as responses_schema
from allod.wire.tokens import DetokenizeRequest, TokenizeRequest

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases the routes call."""

    chat: ChatService
    batches: BatchService
    embeddings: EmbeddingService
    files: FileService
    models: ModelService
    responses: ResponseService
    status: StatusService
    tokens: TokenService


def create(
    settings: ApiSettings,
    services: Services,
    keys: KeyFile,
    feeds: OpenFeeds,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """The application: border, arrival, crowd, one spelling of paths, guard, routes.

    Raises:
        ConfigurationError: it would let strangers in unasked, or the key file is damaged.
    """
    access = Access(settings, keys)
    access.check_start()
    app = DescribedApp(
        title="allod",
        version=__version__,
        summary="An OpenAI-compatible server over MLX.",
        docs_url=None,  # these pages load code from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses=ERRORS,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
        exception_handlers={AllodError: answer_allod_error, HTTPException: answer_http_exception},
        middleware=[
            Middleware(ExchangeBorder),
            Middleware(Arrival, body_gap_seconds=settings.body_gap_seconds),
            Middleware(Crowd, max_connections=settings.max_connections),
            Middleware(PathNormaliser),
            Middleware(
                Guard,
                hosts=HostList(settings.host, settings.allowed_hosts),
                origins=OriginList(settings.allowed_origins),
                access=access,
            ),
        ],
    )
    generator = Generator(settings, services.chat, services.models, feeds)
    for door in _doors(settings, generator, services):
        app.add_api_route(door.path, door.handler, methods=[door.method], openapi_extra=dict(door.extra))
    socket = ResponsesSocket(settings, generator, services.models, services.responses, feeds)
    app.add_api_websocket_route("/v1/responses", socket.serve)
    app.described_schemas = {
        **SCHEMAS,
        **schemas_of(ChatCompletionRequest, CompletionRequest, TokenizeRequest, DetokenizeRequest),
        **responses_schema.components(),
        **anthropic_schema.components(),
        **ANSWERS,
        **embeddings_schema.components(),
        **status_components(),
        **files_schema.SCHEMAS,
        **batches_schema.SCHEMAS,
        **schemas_of(batches_schema.BatchCreateRequest),
    }
    return app


def _doors(settings: ApiSettings, generator: Generator, services: Services) -> Iterator[Door]:
    """Every way in."""
    chat, models = services.chat, services.models
    yield from openai_doors(OpenAIRoutes(generator))
    yield from response_doors(ResponsesRoutes(generator, models, services.responses, chat))
    yield from anthropic_doors(AnthropicRoutes(generator, chat))
    yield from embedding_doors(EmbeddingRoutes(generator, services.embeddings))
    yield from file_doors(FileRoutes(services.files, services.batches.settings))
    yield from batch_doors(BatchRoutes(services.batches, settings))
    yield from model_doors(ModelRoutes(models))
    yield from token_doors(TokenRoutes(generator, services.tokens))
    yield from status_doors(StatusRoutes(services.status))
