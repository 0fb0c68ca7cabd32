"""A whole answer that is JSON already."""

from collections.abc import Mapping

from starlette.responses import Response


def json_answer(body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """Encoded JSON as a response."""
    return Response(body, media_type="application/json", headers=headers)
