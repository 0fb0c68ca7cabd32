"""What clients hear whose connection is one more than there may be."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allod.api.connection import CROWDED
from allod.api.errors import error_response
from allod.api.guard import PUBLIC_PATHS
from allod.core.errors import RequestTimeout, TooManyConnections

_RETRY_SECONDS = 2
_DRAIN_SECONDS = 2.0
_CLOSING = (b"connection", b"close")


class Crowd:
    """Middleware that answers 503 on a crowded connection, and hangs up; probes are answered before that.

    The body is read first: a connection that is closed with something unread in it is reset, and the client
    would not see the answer.
    """

    def __init__(self, app: ASGIApp, max_connections: int) -> None:
        self._app = app
        self._max_connections = max_connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, refuse, or serve and hang up."""
        if scope["type"] not in ("http", "websocket") or not scope["state"].get(CROWDED):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, _hanging_up(send))
        else:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _drained(receive)
        error = TooManyConnections(
            f"{self._max_connections} connections are open, the most that this server serves at a time "
            "(the setting api.max_connections). Send the request again.",
            retry_after_seconds=_RETRY_SECONDS,
        )
        await error_response(error)(scope, receive, _hanging_up(send))


async def _drained(receive: Receive) -> None:
    """Read the body and throw it away; of one that does not come, as much as came in a while."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                if not message.get("more_body", False):
                    return
    except (TimeoutError, RequestTimeout):
        return


def _hanging_up(send: Send) -> Send:
    """A `send` whose response is the connection's last."""

    async def send_last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), _CLOSING]
        await send(message)

    return send_last
