"""Options from dataclasses: a parameter whose type is one becomes an option for each of its fields.

So a command with many options stays a function of few things, and what a room declares is said once.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

import typer
from annotated_doc import Doc
from annotated_types import Ge
from typer.models import OptionInfo

from allod.core.errors import ConfigurationError


def spread(flags: Mapping[str, str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make options of the fields of dataclasses among a command's parameters.

    Args:
        flags: names of options that are not those of their fields.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        plain: list[inspect.Parameter] = []
        spread_out: dict[str, type] = {}
        for name, parameter in inspect.signature(command).parameters.items():
            if dataclasses.is_dataclass(hints[name]):
                spread_out[name] = hints[name]
            else:
                plain.append(parameter.replace(annotation=hints[name]))
        fields = [_parameter(each, flags) for kind in spread_out.values() for each in _fields(kind)]

        def call(**given: Any) -> None:
            made = {name: _made(kind, given) for name, kind in spread_out.items()}
            command(**{each.name: given[each.name] for each in plain}, **made)

        call.__doc__ = command.__doc__
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*plain, *fields)]
        call.__dict__["__signature__"] = inspect.Signature(parameters)
        call.__name__ = command.__name__
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        return call

    return decorate


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    hint: Any
    default: Any

    @property
    def bare(self) -> Any:
        """The type without its annotations."""
        return get_args(self.hint)[0] if get_origin(self.hint) is Annotated else self.hint

    @property
    def metadata(self) -> tuple[Any, ...]:
        """The annotations."""
        return get_args(self.hint)[1:] if get_origin(self.hint) is Annotated else ()

    @property
    def is_numbers(self) -> bool:
        """Several whole numbers, which are written with commas between them."""
        return get_args(self.bare)[:1] == (int,) and get_origin(self.bare) is tuple

    @property
    def is_words(self) -> bool:
        """Several words: the option may be repeated."""
        return get_args(self.bare)[:1] == (str,) and get_origin(self.bare) is tuple


def _fields(kind: type) -> list[_Field]:
    hints = get_type_hints(kind, include_extras=True)
    return [_Field(each.name, hints[each.name], each.default) for each in dataclasses.fields(kind)]


def _parameter(field: _Field, flags: Mapping[str, str]) -> inspect.Parameter:
    """The option of a field: its own, where it declares one, else made of its documentation and bounds."""
    own = next((item for item in field.metadata if isinstance(item, OptionInfo)), None)
    kind: Any = list[str] | None if field.is_words else str | None if field.is_numbers else field.bare
    default = None if field.is_words or field.is_numbers else field.default
    option = own or typer.Option(
        flags.get(field.name, f"--{field.name.replace('_', '-')}"),
        min=_least(field) if default is not None else None,
        help=next((item.documentation for item in field.metadata if isinstance(item, Doc)), ""),
        show_default=_shown(field.default),
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _least(field: _Field) -> float | None:
    bounds: list[Any] = [item.ge for item in field.metadata if isinstance(item, Ge)]
    return bounds[0] if bounds else None


def _shown(value: object) -> str | bool:
    if isinstance(value, tuple):
        return ",".join(map(str, cast("tuple[object, ...]", value)))
    return False if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _made(kind: type, given: Mapping[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for field in _fields(kind):
        value = given[field.name]
        if value is None or value == []:
            continue
        if field.is_numbers:
            values[field.name] = _numbers(field.name, value)
        else:
            values[field.name] = tuple(value) if field.is_words else value
    return kind(**values)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers from 1 up, written with commas between them.

    Raises:
        ConfigurationError: it is something else.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) for word in words):
        raise ConfigurationError(f"--{name} {text}: write whole numbers with commas, for example 1,4,16")
    return tuple(map(int, words))
