"""What pydantic found wrong, in the words of Anthropic's API, which are pydantic's."""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from allod.core.errors import InvalidRequest, refused
from allod.wire.shape import flaw

_PLAINER: Mapping[str, str] = {
    "model_type": "Input should be an object",
    "dict_type": "Input should be an object",
}
"""Pydantic's words that speak of Python."""


def refusal(error: ValidationError) -> InvalidRequest:
    """The first fault, as an error that names the field and what it should be."""
    fault = error.errors(include_url=False)[0]
    field = path(fault["loc"])
    value: object = fault["input"]
    if isinstance(value, str) and (found := flaw(value)):
        return refused(field, f"holds {found}; leave it out")
    if fault["type"] == "value_error":
        return refused(field, f"holds {fault['msg'].removeprefix('Value error, ')}; leave it out")
    return refused(field, _PLAINER.get(fault["type"], fault["msg"]))


def path(location: Sequence[str | int]) -> str:
    """A location as Anthropic writes it: `messages.0.content.1.text`.

    What starts with `#` names a branch of a union, which clients know nothing of.
    """
    return ".".join(str(key) for key in location if not str(key).startswith("#"))
