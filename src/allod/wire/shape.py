"""What the bodies of all dialects are made of: strict types, sound strings.

Types are strict: `"1"` is not a number and `true` is not 1. `null` means absent. The description of a
field says what to send, in words that complete the sentence "send ..."; refusals use it as it is.
"""

from typing import Annotated

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


class Shape(BaseModel):
    """Strict in types, open to unknown fields."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    @property
    def unknown(self) -> dict[str, object]:
        """The fields that the shape does not name."""
        return self.model_extra or {}


def flaw(text: str) -> str | None:
    """What makes a string unfit to be tokenised, in words; None for a sound one."""
    if "\0" in text:
        return "a NUL character (\\u0000)"
    if text.isascii():
        return None  # known without a look, however long it is
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair (\\ud800 to \\udfff)"
    return None


KEPT = "kept"
"""The context of a validation of what was kept: a model may have said what no client may send."""


def _sound(text: str, info: ValidationInfo) -> str:
    if info.context != KEPT and (found := flaw(text)):
        raise ValueError(found)
    return text


def _sound_json(value: dict[str, object]) -> dict[str, object]:
    try:
        msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError, RecursionError) as error:
        raise ValueError("a string with half of a surrogate pair, or too large a number") from error
    return value


Text = Annotated[str, AfterValidator(_sound)]
JsonObject = Annotated[
    dict[str, object], AfterValidator(_sound_json), Field(json_schema_extra={"additionalProperties": True})
]


def json_text(value: object) -> str:
    """JSON text of a value that a body held, without spaces, keys in the client's order."""
    return msgspec.json.encode(value).decode()
