"""A setting as its room declares it, in the words that documentation and error messages use."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

PREFIX = "ALLOD_"
"""What the names of environment variables begin with."""

_BOUND_WORDS: tuple[tuple[type, str, str], ...] = (
    (Ge, "ge", "at least {}"),
    (Gt, "gt", "more than {}"),
    (Le, "le", "at most {}"),
    (Lt, "lt", "less than {}"),
    (MinLen, "min_length", "length at least {}"),
    (MaxLen, "max_length", "length at most {}"),
)


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One setting as its room declares it, in the words documentation and error messages use."""

    section: str
    name: str
    hint: Any
    default_value: object

    @property
    def dotted(self) -> str:
        """The name `--set` and error messages use."""
        return f"{self.section}.{self.name}"

    @property
    def environment(self) -> str:
        """The environment variable that sets it."""
        return f"{PREFIX}{self.section}_{self.name}".upper()

    @property
    def type(self) -> str:
        """What kind of value it takes."""
        return _type_words(self.bare)

    @property
    def default(self) -> str:
        """The value it has when nobody says anything."""
        return value_words(self.default_value)

    @property
    def bounds(self) -> str:
        """The limits of the value; empty where there are none."""
        return ", ".join(
            words.format(getattr(item, attribute))
            for item in self._metadata
            for kind, attribute, words in _BOUND_WORDS
            if isinstance(item, kind)
        )

    @property
    def doc(self) -> str:
        """What it does."""
        return next((item.documentation for item in self._metadata if isinstance(item, Doc)), "")

    @property
    def bare(self) -> object:
        """The type without its annotations."""
        return get_args(self.hint)[0] if get_origin(self.hint) is Annotated else self.hint

    @property
    def _metadata(self) -> tuple[object, ...]:
        return get_args(self.hint)[1:] if get_origin(self.hint) is Annotated else ()


def declared_in(section: str, room: type) -> Iterator[SettingDoc]:
    """The settings that a room declares."""
    hints = get_type_hints(room, include_extras=True)
    for declared in dataclasses.fields(room):
        factory = declared.default_factory
        default = declared.default if factory is dataclasses.MISSING else factory()
        yield SettingDoc(section, declared.name, hints[declared.name], default)


def _type_words(hint: object) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _type_words(arguments[0])
    if origin is Literal:
        return " or ".join(str(choice) for choice in arguments)
    if origin is tuple:
        return f"list of {_type_words(arguments[0])}"
    if origin in (UnionType, Union):
        return " or ".join(_type_words(part) for part in arguments)
    if hint is type(None):
        return "none"
    return getattr(hint, "__name__", str(hint)).lower()


def value_words(value: object) -> str:
    """A value as a person writes it in the environment or after `--set`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(str(item) for item in cast("tuple[object, ...]", value))
    return str(value)
