"""Read a request's body, within the limit and of the right type."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from allod.core.errors import BodyTooLarge, InvalidRequest

_LONG_BYTES = 1 << 18
"""A body of so many takes about a millisecond to understand."""

_Result = TypeVar("_Result")


async def read_json_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body, as long as the client says it is JSON and it fits the limit.

    The type matters for safety: a page of another site may post `text/plain` without asking first.

    Raises:
        InvalidRequest: the Content-Type is not JSON.
        BodyTooLarge: the body is longer than the limit; nothing more of it is read.
        ClientDisconnect: the client left while sending.
    """
    _require_json(request.headers.get("content-type"))
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
    return await off_loop(length, lambda: b"".join(chunks))


async def off_loop(length: int, work: Callable[[], _Result]) -> _Result:
    """Do what takes the longer the longer a body is.

    Args:
        length: of the body in bytes. For a long one the event loop does not wait: a thread does the work.
        work: what is to be done.

    Raises:
        Exception: what the work raises.
    """
    if length < _LONG_BYTES:
        return work()
    return await asyncio.to_thread(work)


def _require_json(content_type: str | None) -> None:
    if content_type is None:
        return
    essence = content_type.partition(";")[0].strip().lower()
    if essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json")):
        return
    raise InvalidRequest(
        f"Content-Type is {essence!r}, but this route reads JSON only; send Content-Type: application/json.",
        param="Content-Type",
    )


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The request body is longer than {limit_bytes} bytes, the limit of this server; "
        "send less, or raise the setting api.max_body_bytes."
    )
