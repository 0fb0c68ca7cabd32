"""Forgive the addresses clients put together: `/v1/v1/models`, `//v1/models`, `/v1/models/`."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("/{2,}")
_DOUBLED_VERSION = re.compile("^(/v1)+(?=/|$)")


def normalise(path: str) -> str:
    """One spelling of a path: single slashes, `/v1` once, no slash at the end."""
    single = _SLASHES.sub("/", path)
    return _DOUBLED_VERSION.sub("/v1", single).rstrip("/") or "/"


class PathNormaliser:
    """Middleware: routes and guards see one spelling of every path.

    HEAD becomes GET here: the server leaves out the body by itself, so every page answers both.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its one spelling."""
        if scope["type"] in ("http", "websocket"):
            path = normalise(scope["path"])
            scope = {**scope, "path": path, "raw_path": path.encode()}
            if scope.get("method") == "HEAD":
                scope["method"] = "GET"
        await self._app(scope, receive, send)
