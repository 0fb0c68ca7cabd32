"""JSON files of a checkpoint: written by strangers, so every lie is a refusal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from allod.core.errors import ImportRefused

_LARGEST_BYTES = 256 * 1024 * 1024


def read_object(path: Path) -> Mapping[str, object]:
    """The JSON object in a file.

    The standard parser is used because checkpoints written by Python hold `Infinity` and `NaN`.

    Raises:
        ImportRefused: too large, not UTF-8, not JSON, or not an object.
    """
    size = path.stat().st_size
    if size > _LARGEST_BYTES:
        raise ImportRefused(f"{path.name} has {size} bytes, more than the {_LARGEST_BYTES} that are read")
    try:
        value: object = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{path.name} is not JSON ({error}); fetch the checkpoint again") from error
    if not isinstance(value, dict):
        raise ImportRefused(f"{path.name} holds a JSON {type(value).__name__} where an object is needed")
    return cast("dict[str, object]", value)


def read_object_if_any(path: Path) -> Mapping[str, object]:
    """As `read_object`; a file that is not there reads as an empty object."""
    return read_object(path) if path.is_file() else {}


def child(value: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The object under a key; empty when there is none."""
    found = value.get(key)
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def integer(value: object) -> int | None:
    """The value if it is a whole number (booleans are none), else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: object) -> float | None:
    """The value if it is a number (booleans are none), else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def write_object(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object, readable by people."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
