"""The gate before every route, of HTTP and of WebSockets: which Host, which Origin, which key.

No header that a proxy adds (`X-Forwarded-*`, `Forwarded`) is looked at: anybody can send them.
"""

import logging

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allod.api.access import Access
from allod.api.errors import error_response
from allod.api.exchange import Exchange, internal_failure
from allod.api.hosts import HostList, OriginList
from allod.core.errors import AllodError, ConfigurationError, NotAllowed, NotAuthenticated
from allod.core.ids import TenantId

PUBLIC_PATHS = frozenset({"/health"})
_PREFLIGHT_SECONDS = "600"
_EXPOSED = b"x-request-id, request-id, x-allod-ignored-fields, x-allod-prefix, retry-after"
_log = logging.getLogger(__name__)


class Guard:
    """Middleware that lets a request through to the routes, or answers it with 401 or 403."""

    def __init__(self, app: ASGIApp, hosts: HostList, origins: OriginList, access: Access) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check Host, then Origin, answer a preflight, then ask for the key."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = Exchange.of(scope)
        try:
            self._check_host(headers, scope)
            origin = self._check_origin(headers)
            if origin is not None:
                send = _with_cors(send, origin)
                if scope.get("method") == "OPTIONS" and "access-control-request-method" in headers:
                    await _preflight(headers)(scope, receive, send)
                    return
            exchange.tenant = self._tenant(headers, scope["path"])
        except ConfigurationError as error:
            _log.error("%s: %s", exchange.request, error.message)
            await error_response(internal_failure(error, exchange))(scope, receive, send)
        except AllodError as error:
            await error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check_host(self, headers: Headers, scope: Scope) -> None:
        named = headers.getlist("host")
        server: tuple[str, int | None] | None = scope.get("server")
        if len(named) == 1 and self._hosts.admits(named[0], server[0] if server else None):
            return
        shown = ", ".join(map(repr, named)) or "missing"
        raise NotAllowed(
            f"The Host header ({shown}) is not a name of this server; "
            "add the name to the setting api.allowed_hosts."
        )

    def _check_origin(self, headers: Headers) -> str | None:
        """The origin of the web page that asks, if a web page asks."""
        origins = headers.getlist("origin")
        if not origins:
            return None
        if len(origins) == 1 and self._origins.admits(origins[0], headers["host"]):
            return origins[0]
        shown = ", ".join(map(repr, origins))
        raise NotAllowed(
            f"Web pages of the origin {shown} may not call this server; "
            "add the origin to the setting api.allowed_origins."
        )

    def _tenant(self, headers: Headers, path: str) -> TenantId | None:
        try:
            return self._access.admit(_secrets(headers))
        except NotAuthenticated:
            if path in PUBLIC_PATHS:
                return None
            raise


def _secrets(headers: Headers) -> tuple[str, ...]:
    """The keys a request shows, in the two ways clients know."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    shown = (bearer if scheme.lower() == "bearer" else "", headers.get("x-api-key", ""))
    return tuple(secret.strip() for secret in shown if secret.strip())


def _preflight(headers: Headers) -> Response:
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": headers.get("access-control-request-headers", "authorization"),
            "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
        },
    )


def _with_cors(send: Send, origin: str) -> Send:
    """A `send` that tells the browser that pages of this origin may read the response."""
    cors = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]

    async def send_with_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *cors]
        await send(message)

    return send_with_cors
