"""Files, in OpenAI's shapes. A stored file's record is the object that clients get."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from allod.core.errors import refused
from allod.wire.json_schema import (
    COUNT,
    INTEGER,
    STRING,
    JsonSchema,
    exactly,
    listed,
    or_null,
    record,
    refer,
)
from allod.wire.multipart import Part
from allod.wire.refusal import shown_name

UPLOAD_PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
PURPOSES = (*UPLOAD_PURPOSES, "batch_output")
_LEAST_EXPIRY_SECONDS = 3600
_MOST_EXPIRY_SECONDS = 30 * 86_400


class FileObject(msgspec.Struct, frozen=True):
    """A file.

    Attributes:
        bytes: its size.
        created_at: seconds since the epoch, as `expires_at`.
        status: always `processed`; OpenAI has deprecated it, and its SDK still wants it.
    """

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    object: str = "file"
    status: str = "processed"
    status_details: None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it comes in; `expires_seconds` is None where the server decides."""

    filename: str
    purpose: str
    content: bytes
    expires_seconds: int | None = None


def understood_upload(parts: Mapping[str, Part]) -> Upload:
    """The file that a form carries.

    Raises:
        InvalidRequest: a field is missing or wrong; names it.
    """
    file, purpose = parts.get("file"), _field(parts, "purpose")
    if file is None or file.filename is None:
        raise refused("file", "is missing; send a form field `file` with a file name")
    if purpose is None:
        raise refused("purpose", f"is missing; send one of {', '.join(UPLOAD_PURPOSES)}")
    if purpose not in UPLOAD_PURPOSES:
        raise refused("purpose", f"got {shown_name(purpose)}; send one of {', '.join(UPLOAD_PURPOSES)}")
    return Upload(file.filename, purpose, bytes(file.data), _expiry(parts))


def deleted_file(identifier: str) -> bytes:
    """What a DELETE answers."""
    return msgspec.json.encode({"id": identifier, "object": "file", "deleted": True})


def require_expiry(field: str, seconds: int) -> int:
    """A time to live that OpenAI would take.

    Raises:
        InvalidRequest: it is too short or too long.
    """
    if _LEAST_EXPIRY_SECONDS <= seconds <= _MOST_EXPIRY_SECONDS:
        return seconds
    raise refused(
        field, f"got {seconds}; send seconds from {_LEAST_EXPIRY_SECONDS} to {_MOST_EXPIRY_SECONDS}"
    )


def _expiry(parts: Mapping[str, Part]) -> int | None:
    anchor, seconds = _field(parts, "expires_after[anchor]"), _field(parts, "expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise refused("expires_after[anchor]", "is not created_at; send created_at")
    if seconds is None or not (seconds.isascii() and seconds.isdecimal()):
        raise refused("expires_after[seconds]", "is not a whole number; send seconds")
    return require_expiry("expires_after[seconds]", int(seconds[:9]))


def _field(parts: Mapping[str, Part], name: str) -> str | None:
    part = parts.get(name)
    return None if part is None else part.data.decode("utf-8", "replace")


UPLOAD_FORM: JsonSchema = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": exactly(*UPLOAD_PURPOSES),
        "expires_after[anchor]": exactly("created_at"),
        "expires_after[seconds]": {
            "type": "integer",
            "minimum": _LEAST_EXPIRY_SECONDS,
            "maximum": _MOST_EXPIRY_SECONDS,
        },
    },
}
"""The multipart form of POST /v1/files."""

SCHEMAS: dict[str, JsonSchema] = {
    "File": record(
        {
            "id": STRING,
            "object": exactly("file"),
            "bytes": COUNT,
            "created_at": INTEGER,
            "expires_at": or_null(INTEGER),
            "filename": STRING,
            "purpose": exactly(*PURPOSES),
            "status": exactly("processed"),
            "status_details": {"type": "null"},
        }
    ),
    "FileList": record(
        {
            "object": exactly("list"),
            "data": listed(refer("File")),
            "first_id": or_null(STRING),
            "last_id": or_null(STRING),
            "has_more": {"type": "boolean"},
        }
    ),
    "FileDeleted": record({"id": STRING, "object": exactly("file"), "deleted": {"const": True}}),
}
