"""Batches, in OpenAI's shapes. A stored batch's record is the object that clients get."""

from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
from pydantic import Field

from allod.core.errors import refused
from allod.wire.files import require_expiry
from allod.wire.json_schema import (
    COUNT,
    INTEGER,
    STRING,
    STRING_OR_NULL,
    JsonSchema,
    exactly,
    listed,
    or_null,
    record,
    refer,
)
from allod.wire.openai.request import validated
from allod.wire.refusal import shown_name
from allod.wire.shape import Shape, Text

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
WINDOW_SECONDS = 86_400
_MOST_METADATA = 16
_MOST_KEY_CHARS = 64
_MOST_VALUE_CHARS = 512

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
BatchStatus = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]


class BatchError(msgspec.Struct, frozen=True):
    """Why a batch failed; `line` counts the lines of the input file from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(msgspec.Struct, frozen=True):
    """The errors of a batch."""

    data: tuple[BatchError, ...]
    object: str = "list"


class RequestCounts(msgspec.Struct, frozen=True):
    """How far a batch is."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class CachedTokens(msgspec.Struct, frozen=True):
    """A part of the input tokens."""

    cached_tokens: int = 0


class ReasoningTokens(msgspec.Struct, frozen=True):
    """A part of the output tokens."""

    reasoning_tokens: int = 0


class BatchUsage(msgspec.Struct, frozen=True):
    """Tokens of all lines together."""

    input_tokens: int = 0
    input_tokens_details: CachedTokens = CachedTokens()
    output_tokens: int = 0
    output_tokens_details: ReasoningTokens = ReasoningTokens()
    total_tokens: int = 0

    def plus(self, other: "BatchUsage") -> "BatchUsage":
        """Both together."""
        cached = self.input_tokens_details.cached_tokens + other.input_tokens_details.cached_tokens
        reasoning = self.output_tokens_details.reasoning_tokens + other.output_tokens_details.reasoning_tokens
        return BatchUsage(
            self.input_tokens + other.input_tokens,
            CachedTokens(cached),
            self.output_tokens + other.output_tokens,
            ReasoningTokens(reasoning),
            self.total_tokens + other.total_tokens,
        )


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. Times are seconds since the epoch."""

    id: str
    object: str = "batch"
    endpoint: Endpoint
    model: str | None = None
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str = "24h"
    status: BatchStatus = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = RequestCounts()
    usage: BatchUsage | None = None
    metadata: dict[str, str] | None = None


class BatchRecord(msgspec.Struct, frozen=True):
    """What is stored of a batch: the object, and what clients do not see of it."""

    batch: BatchObject
    output_expires_seconds: int | None = None


class OutputExpiry(Shape):
    """How long the files that a batch writes are kept."""

    anchor: Literal["created_at"] = Field(description="created_at")
    seconds: int = Field(description="seconds")


class BatchCreateRequest(Shape):
    """Body of POST /v1/batches."""

    input_file_id: Text = Field(description="the id of a file that was uploaded with purpose batch")
    endpoint: Endpoint = Field(description=f"one of {', '.join(ENDPOINTS)}")
    completion_window: Literal["24h"] = Field(description='"24h"')
    metadata: dict[Text, Text] | None = Field(default=None, description="an object of strings")
    output_expires_after: OutputExpiry | None = Field(
        default=None, description='{"anchor": "created_at", "seconds": ...}'
    )


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A batch that is asked for."""

    input_file_id: str
    endpoint: Endpoint
    metadata: dict[str, str] | None = None
    output_expires_seconds: int | None = None


def understood_batch(body: bytes) -> BatchRequest:
    """A body of POST /v1/batches.

    Raises:
        InvalidRequest: it is wrong; names the field.
    """
    asked = validated(BatchCreateRequest, body)
    expiry = asked.output_expires_after
    return BatchRequest(
        input_file_id=asked.input_file_id,
        endpoint=asked.endpoint,
        metadata=_checked(asked.metadata) if asked.metadata else None,
        output_expires_seconds=(
            None if expiry is None else require_expiry("output_expires_after.seconds", expiry.seconds)
        ),
    )


def _checked(metadata: dict[str, str]) -> dict[str, str]:
    if len(metadata) > _MOST_METADATA:
        raise refused("metadata", f"has {len(metadata)} pairs; send at most {_MOST_METADATA}")
    for key, value in metadata.items():
        if len(key) > _MOST_KEY_CHARS or len(value) > _MOST_VALUE_CHARS:
            raise refused(
                f"metadata.{shown_name(key)}",
                f"is too long; send keys of at most {_MOST_KEY_CHARS} and values of at most "
                f"{_MOST_VALUE_CHARS} characters",
            )
    return metadata


_TIME = or_null(INTEGER)
_STATUSES = get_args(BatchStatus)

SCHEMAS: dict[str, JsonSchema] = {
    "BatchUsage": record(
        {
            "input_tokens": COUNT,
            "input_tokens_details": record({"cached_tokens": COUNT}),
            "output_tokens": COUNT,
            "output_tokens_details": record({"reasoning_tokens": COUNT}),
            "total_tokens": COUNT,
        }
    ),
    "BatchErrors": record(
        {
            "object": exactly("list"),
            "data": listed(
                record({"code": STRING, "message": STRING, "param": STRING_OR_NULL, "line": or_null(INTEGER)})
            ),
        }
    ),
    "Batch": record(
        {
            "id": STRING,
            "object": exactly("batch"),
            "endpoint": exactly(*ENDPOINTS),
            "model": STRING_OR_NULL,
            "errors": or_null(refer("BatchErrors")),
            "input_file_id": STRING,
            "completion_window": exactly("24h"),
            "status": exactly(*_STATUSES),
            "output_file_id": STRING_OR_NULL,
            "error_file_id": STRING_OR_NULL,
            "created_at": INTEGER,
            "expires_at": INTEGER,
            **{f"{status}_at": _TIME for status in _STATUSES[1:]},
            "request_counts": record({"total": COUNT, "completed": COUNT, "failed": COUNT}),
            "usage": or_null(refer("BatchUsage")),
            "metadata": or_null({"type": "object", "additionalProperties": STRING}),
        }
    ),
    "BatchList": record(
        {
            "object": exactly("list"),
            "data": listed(refer("Batch")),
            "first_id": STRING_OR_NULL,
            "last_id": STRING_OR_NULL,
            "has_more": {"type": "boolean"},
        }
    ),
}
