"""Put the routes behind the gate."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from allod.api.access import Access
from allod.api.errors import answer_allod_error, answer_http_exception
from allod.api.exchange import ExchangeBorder
from allod.api.feed import OpenFeeds
from allod.api.guard import Guard
from allod.api.hosts import HostList, OriginList
from allod.api.keys import KeyFile
from allod.api.openai import OpenAIRoutes
from allod.api.openapi import ERRORS, DescribedApp, generation
from allod.api.paths import PathNormaliser
from allod.api.settings import ApiSettings
from allod.api.status import StatusRoutes
from allod.core.errors import AllodError
from allod.service.chat import ChatService
from allod.service.models import ModelService
from allod.service.status import StatusService
from allod.version import __version__

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases the routes call."""

    chat: ChatService
    models: ModelService
    status: StatusService


def create(
    settings: ApiSettings,
    services: Services,
    keys: KeyFile,
    feeds: OpenFeeds,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """The application: border, one spelling of paths, guard, routes.

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
            Middleware(PathNormaliser),
            Middleware(
                Guard,
                hosts=HostList(settings.host, settings.allowed_hosts),
                origins=OriginList(settings.allowed_origins),
                access=access,
            ),
        ],
    )
    _add_openai(app, OpenAIRoutes(settings, services.chat, services.models, feeds))
    _add_status(app, StatusRoutes(services.status))
    return app


def _add_openai(app: FastAPI, routes: OpenAIRoutes) -> None:
    chat, completion = generation("ChatCompletionRequest"), generation("CompletionRequest")
    app.add_api_route("/v1/chat/completions", routes.chat_completions, methods=["POST"], openapi_extra=chat)
    app.add_api_route("/v1/completions", routes.completions, methods=["POST"], openapi_extra=completion)
    app.add_api_route("/v1/models", routes.list_models, methods=["GET"])
    app.add_api_route("/v1/models/{model:path}", routes.get_model, methods=["GET"])


def _add_status(app: FastAPI, routes: StatusRoutes) -> None:
    app.add_api_route("/", routes.root, methods=["GET"])
    app.add_api_route("/health", routes.health, methods=["GET"])
    app.add_api_route("/ready", routes.ready, methods=["GET"])
