"""Parts that whole, streamed and stored responses share."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from allod.core.errors import AllodError, Busy, InvalidRequest
from allod.core.events import ScoredToken, TokenLogprob
from allod.core.usage import Usage
from allod.wire.dialect import Header

Json = dict[str, object]
Status = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]

LEAST_LOGPROB = -9999.0
"""What stands for a token that cannot occur: JSON has no minus infinity."""

_ITEM_ID = re.compile(r"(?:msg|fc|fco|rs|cmp|item)_([0-9A-Za-z-]{1,64})_i?[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Echo:
    """What a response repeats of its request.

    Attributes:
        fields: the repeated fields, by name.
        seals_reasoning: reasoning items carry `encrypted_content`, for clients that send back nothing else.
    """

    fields: Mapping[str, object]
    seals_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a response has come."""

    status: Status
    output: tuple[Json, ...] = ()
    usage: Usage | None = None
    completed_at: int | None = None
    error: Json | None = None


def response_id(identifier: str) -> str:
    """The id of a response."""
    return f"resp_{identifier}"


def item_id(prefix: str, identifier: str, index: int) -> str:
    """The id of an output item; it tells which response the item is part of."""
    return f"{prefix}_{identifier}_{index}"


def input_id(prefix: str, identifier: str, index: int) -> str:
    """The id of an input item that came without one."""
    return f"{prefix}_{identifier}_i{index}"


def response_of_item(identifier: str) -> str | None:
    """The id of the response that an item of ours is part of."""
    match = _ITEM_ID.fullmatch(identifier)
    return response_id(match[1]) if match else None


def response_shape(header: Header, echo: Echo, outcome: Outcome) -> Json:
    """A response object."""
    cut = {"reason": "max_output_tokens"} if outcome.status == "incomplete" else None
    return {
        "id": response_id(header.identifier),
        "object": "response",
        "created_at": header.created,
        "completed_at": outcome.completed_at,
        "status": outcome.status,
        "background": False,
        "error": outcome.error,
        "incomplete_details": cut,
        "model": header.model,
        "output": list(outcome.output),
        **echo.fields,
        "usage": None if outcome.usage is None else usage_shape(outcome.usage),
    }


def usage_shape(usage: Usage) -> Json:
    """Token counts."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def error_shape(error: AllodError) -> Json:
    """The error of a response that failed; OpenAI knows few codes for it."""
    match error:
        case Busy():
            code = "rate_limit_exceeded"
        case InvalidRequest():
            code = "invalid_prompt"
        case _:
            code = "server_error"
    return {"code": code, "message": error.message}


def text_part(text: str, logprobs: list[Json]) -> Json:
    """The text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def logprob_shapes(scores: Iterable[ScoredToken]) -> list[Json]:
    """Log probabilities of tokens."""
    return [
        _token(score.chosen) | {"top_logprobs": [_token(other) for other in score.alternatives]}
        for score in scores
    ]


def _token(token: TokenLogprob) -> Json:
    # NaN compares false, so it becomes the least as well.
    logprob = token.logprob if token.logprob > LEAST_LOGPROB else LEAST_LOGPROB
    return {"token": token.text, "logprob": logprob, "bytes": list(token.data)}
