"""Errors as Anthropic writes them."""

from collections.abc import Mapping

import msgspec

from allod.core.errors import AllodError, ContextLengthExceeded, MemoryExceeded, Overflow

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_SERVER_FAULTS = 500


def error_body(error: AllodError, request: str) -> bytes:
    """The JSON body of an error answer; also the data of an error event in a stream.

    Args:
        error: what went wrong.
        request: the id under which the log has it.
    """
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {"type": _type(error), "message": _message(error)},
            "request_id": request,
        }
    )


def _type(error: AllodError) -> str:
    rest = "api_error" if error.status >= _SERVER_FAULTS else "invalid_request_error"
    return _TYPES.get(error.status, rest)


def _message(error: AllodError) -> str:
    """Its words. For a request that does not fit, those that clients match on to shorten it."""
    match error:
        case ContextLengthExceeded(overflow=Overflow() as overflow):
            return _overflow(overflow)
        case ContextLengthExceeded() | MemoryExceeded():
            return f"prompt is too long: {error.message}"
        case _:
            return error.message


def _overflow(overflow: Overflow) -> str:
    prompt, completion, limit = overflow.prompt_tokens, overflow.completion_tokens, overflow.context_tokens
    if completion is None or prompt >= limit:
        return f"prompt is too long: {prompt} tokens > {limit} maximum"
    return (
        f"input length and `max_tokens` exceed context limit: {prompt} + {completion} > {limit}, "
        "decrease input length or `max_tokens` and try again"
    )
