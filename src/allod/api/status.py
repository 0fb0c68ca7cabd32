"""Is it alive, is it ready, what is it."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from allod.api.exchange import Exchange
from allod.service.status import Health, ModelStatus, StatusService
from allod.version import __version__

_RETRY_SECONDS = "2"


class HealthBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `/health` says; the models only to those who hold a key."""

    status: Health
    models: tuple[ModelStatus, ...] = ()


class ReadyBody(msgspec.Struct, frozen=True):
    """What `/ready` says."""

    ready: bool
    models: tuple[ModelStatus, ...]


class RootBody(msgspec.Struct, frozen=True):
    """What `/` says."""

    name: str
    version: str
    docs: str


def components() -> dict[str, object]:
    """JSON schemas of these bodies and their parts, by name, for `components.schemas` of OpenAPI."""
    bodies = (HealthBody, ReadyBody, RootBody)
    _, parts = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    return dict(parts)


class StatusRoutes:
    """Handlers of the routes that are about the server itself."""

    def __init__(self, status: StatusService) -> None:
        self._status = status

    async def health(self, request: Request) -> Response:
        """Alive: answers at once, whatever the models do, and without a key."""
        known = Exchange.of(request.scope).tenant is not None
        return _json(HealthBody(self._status.health(), self._status.models() if known else ()))

    async def ready(self) -> Response:
        """200 when every model that must be resident is ready, else 503."""
        readiness = await self._status.readiness()
        body = ReadyBody(readiness.ready, readiness.models)
        if readiness.ready:
            return _json(body)
        return _json(body, status=503, headers={"Retry-After": _RETRY_SECONDS} if readiness.waiting else {})

    async def root(self) -> Response:
        """What answers here."""
        return _json(RootBody("allod", __version__, "/openapi.json"))


def _json(body: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")
