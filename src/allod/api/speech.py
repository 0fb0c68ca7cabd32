"""In whose words a client is answered where its route alone does not tell: errors, and the list of models."""

from starlette.datastructures import Headers
from starlette.types import Scope

from allod.api.paths import normalise

_MESSAGES = "/v1/messages"


def speaks_anthropic(scope: Scope) -> bool:
    """Whether a request comes from a client of Anthropic's API: by its route, or by its header."""
    path = normalise(scope["path"])
    return (
        path == _MESSAGES or path.startswith(f"{_MESSAGES}/") or "anthropic-version" in Headers(scope=scope)
    )
