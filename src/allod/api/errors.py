"""Errors as HTTP responses: the OpenAI error object, and Anthropic's for clients that speak it."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from allod.api.speech import speaks_anthropic
from allod.core.errors import (
    AllodError,
    InvalidRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    RequestTimeout,
)
from allod.wire.anthropic.errors import error_body as anthropic_error_body
from allod.wire.openai.errors import error_body

REQUEST_STATE = "request"
"""Where a scope's state keeps the id of its request."""


class ErrorAnswer(Response):
    """An error in the words of whoever asked."""

    media_type = "application/json"

    def __init__(self, error: AllodError, headers: Mapping[str, str]) -> None:
        super().__init__(error_body(error), error.status, headers)
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the error; the request tells in which dialect."""
        if speaks_anthropic(scope):
            self.body = anthropic_error_body(self._error, scope["state"][REQUEST_STATE])
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def error_response(error: AllodError, headers: Mapping[str, str] | None = None) -> Response:
    """The response for an error: its status, its object, and the headers that belong to it."""
    return ErrorAnswer(error, {**_headers_of(error), **(headers or {})})


def _headers_of(error: AllodError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="allod"'
    if isinstance(error, RequestTimeout):
        headers["Connection"] = "close"
    return headers


async def answer_allod_error(_: Request, error: Exception) -> Response:
    """Exception handler for everything the house raises on purpose."""
    if not isinstance(error, AllodError):
        raise TypeError("registered for AllodError only") from error
    return error_response(error)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Exception handler for what the router itself refuses: unknown routes and wrong methods."""
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException only") from error
    path, method = request.url.path, request.method
    if error.status_code == NotFound.status:
        return error_response(NotFound(f"There is no route {path}; /openapi.json lists the routes."))
    if error.status_code == MethodNotAllowed.status:
        allowed = _allowed(error)
        message = f"{path} does not take {method}; it takes {allowed}."
        return error_response(MethodNotAllowed(message), {"Allow": allowed})
    return error_response(InvalidRequest(str(error.detail)))


def _allowed(error: HTTPException) -> str:
    methods = {name.strip() for name in (error.headers or {}).get("Allow", "").split(",") if name.strip()}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
