"""What pydantic found wrong, in a sentence a person can act on."""

import json
from collections.abc import Iterator, Sequence
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from allod.core.errors import InvalidRequest, refused
from allod.wire.refusal import SHOWN_CHARACTERS, shown_name
from allod.wire.shape import flaw

Location = Sequence[str | int]


def refusal(error: ValidationError, shape: type[BaseModel]) -> InvalidRequest:
    """The first fault, as an error that names the field, the value's problem and the way out."""
    fault = error.errors(include_url=False, include_context=False)[0]
    location = [key for key in fault["loc"] if not _is_mark(key)]
    value: object = fault["input"]
    if isinstance(value, str) and (found := flaw(value)):
        return refused(path(location), f"holds {found}; leave it out")
    if fault["type"] == "missing":
        problem = "is missing"
    elif location[-1] == "type" and "content" in location:
        name = shown_name(value) if isinstance(value, str) else _described(value, by_value=False)
        return refused(
            path(location[:-1]),
            f"got a part of type {name}, not served here; send {_wanted(shape, location)}",
        )
    else:
        problem = f"got {_described(value, by_value=fault['type'] == 'literal_error')}"
    return refused(path(location), f"{problem}; send {_wanted(shape, location)}")


def path(location: Location) -> str:
    """A location as clients write it: `messages[0].content`."""
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{shown_name(key)}" if text else shown_name(key)
    return text


def _is_mark(key: str | int) -> bool:
    """Marks of pydantic's own in a location: `#text` names a branch of a union, `[key]` a dict's key."""
    return isinstance(key, str) and (key.startswith("#") or key == "[key]")


def _wanted(shape: type[BaseModel], location: Location) -> str:
    """The description of the innermost field on the way to the fault."""
    wanted, inside = "another value", (shape,)
    for key in location:
        named = [
            field
            for part in inside
            for name, field in part.model_fields.items()
            if _known_as(name, field) == key
        ]
        if isinstance(key, str) and named:
            wanted = named[0].description or wanted
            inside = tuple(_shapes(named[0].annotation)) or inside
    return wanted


def _known_as(name: str, field: FieldInfo) -> str:
    return field.alias or name


def _shapes(annotation: object) -> Iterator[type[BaseModel]]:
    """Every shape that a value of this type may have."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _shapes(part)


def _described(value: object, *, by_value: bool) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)[:SHOWN_CHARACTERS]
        case str():
            return json.dumps(value[:SHOWN_CHARACTERS]) if by_value else "a string"
        case list():
            return f"a list of length {len(value)}"  # pyright: ignore[reportUnknownArgumentType] -- any items do
        case _:
            return "an object"
