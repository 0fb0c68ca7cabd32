"""One request (or WebSocket) and its response: the id they share, who asked, the line the log keeps.

The log line holds metadata only: no body, no key, no query string.
"""

import logging
import time
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allod.api.errors import REQUEST_STATE, error_response
from allod.api.speech import speaks_anthropic
from allod.core.errors import InternalFailure
from allod.core.ids import RequestId, TenantId
from allod.core.prefixes import PrefixMatch
from allod.core.usage import Usage

ACCESS_LOG = "allod.access"
_PROBES = ("/health", "/ready")
_CLIENT_LEFT = 499
_SWITCHING = 101
_BROKEN = 1011
_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""Messages with which an answer begins. That a WebSocket is accepted has no status of its own."""

PREFIX_HEADER = b"x-allod-prefix"
"""Says how much of the prompt need not be read again, and why it is not more, to those who miss it."""

_STATE_KEY = "exchange"
_REQUEST_PREFIX = "req-"
_access = logging.getLogger(ACCESS_LOG)
_log = logging.getLogger(__name__)


def new_request_id() -> RequestId:
    """An id that no other request has."""
    return RequestId(_REQUEST_PREFIX + uuid4().hex)


def bare_id(request: RequestId) -> str:
    """A request's id without what marks it as one; dialects name answers by it."""
    return request.removeprefix(_REQUEST_PREFIX)


@dataclass(slots=True)
class Exchange:
    """What is known of one request while it is served.

    Attributes:
        request: unique for the life of the gateway; every response carries it as `x-request-id`.
        tenant: who asks; None on a public route that was asked without a valid key.
        usage: what the answer consumed, once that is known.
        prefix: what was to be reused of the prompt, once that is known.
        status: the status that went out; None until then.
        abandoned: the client left before the answer was complete.
    """

    request: RequestId = field(default_factory=new_request_id)
    tenant: TenantId | None = None
    usage: Usage | None = None
    prefix: PrefixMatch | None = None
    status: int | None = None
    abandoned: bool = False

    @staticmethod
    def of(scope: Scope) -> "Exchange":
        """The exchange a scope belongs to."""
        exchange: Exchange = scope["state"][_STATE_KEY]
        return exchange


class ExchangeBorder:
    """Outermost middleware: gives each request its Exchange, and has the last word on faults of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or one WebSocket; lifespan passes."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange()
        scope.setdefault("state", {}).update({_STATE_KEY: exchange, REQUEST_STATE: exchange.request})
        started_seconds = time.monotonic()

        async def send_marked(message: Message) -> None:
            if message["type"] in _BEGINNINGS:
                exchange.status = message.get("status", _SWITCHING)
                message["headers"] = [*message.get("headers", ()), *_marks(scope, exchange)]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            exchange.abandoned = True
        except Exception as error:
            if exchange.status is not None and scope["type"] == "http":
                raise  # the response is half out: only hanging up can tell the client
            _log.exception("%s failed", exchange.request)
            if exchange.status is None:
                await error_response(internal_failure(error, exchange))(scope, receive, send_marked)
            else:
                await send({"type": "websocket.close", "code": _BROKEN})
        finally:
            _record(scope, exchange, time.monotonic() - started_seconds)


def _marks(scope: Scope, exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The headers that carry the request's id, by the names that clients know, and what else is known."""
    names = (b"x-request-id", b"request-id") if speaks_anthropic(scope) else (b"x-request-id",)
    marks = [(name, exchange.request.encode()) for name in names]
    return [*marks, (PREFIX_HEADER, _told(exchange.prefix))] if exchange.prefix else marks


def _told(prefix: PrefixMatch) -> bytes:
    disk = f"; disk={prefix.disk_tokens}" if prefix.disk_tokens else ""
    return f"cached={prefix.cached_tokens}; agreed={prefix.agreed_tokens}; end={prefix.end}{disk}".encode()


def internal_failure(error: BaseException, exchange: Exchange) -> InternalFailure:
    """What a client learns of a fault of ours: the id under which the log has the details."""
    failure = InternalFailure(f"The server failed; its log has the details under {exchange.request}.")
    failure.__cause__ = error
    return failure


def _record(scope: Scope, exchange: Exchange, seconds: float) -> None:
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    usage = exchange.usage
    # Probes come every few seconds and would bury the requests.
    level = logging.DEBUG if scope["path"] in _PROBES else logging.INFO
    _access.log(
        level,
        "%s %s %s %.3fs tokens=%s tenant=%s%s %s",
        scope.get("method", "WEBSOCKET"),
        raw_path.decode("ascii", "backslashreplace"),
        exchange.status or _CLIENT_LEFT,
        seconds,
        f"{usage.prompt_tokens}+{usage.completion_tokens}" if usage else "-",
        exchange.tenant or "-",
        " abandoned" if exchange.abandoned else "",
        exchange.request,
    )
