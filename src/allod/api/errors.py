"""Errors as HTTP responses. Every error of every route has one shape: the OpenAI error object."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from allod.core.errors import AllodError, InvalidRequest, MethodNotAllowed, NotAuthenticated, NotFound
from allod.wire.openai.errors import error_body


def error_response(error: AllodError, headers: Mapping[str, str] | None = None) -> Response:
    """The response for an error: its status, its object, and the headers that belong to it."""
    return Response(
        error_body(error),
        status_code=error.status,
        media_type="application/json",
        headers={**_headers_of(error), **(headers or {})},
    )


def _headers_of(error: AllodError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="allod"'
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
