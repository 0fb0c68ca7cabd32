"""The sandbox that chat templates run in: the functions and filters that Hugging Face gives them."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from allod.core.errors import ImportRefused, InvalidRequest

FUNCTION_NAMES = frozenset({"raise_exception", "strftime_now"})


class SandboxedTemplate:
    """One compiled chat template.

    A template comes with a checkpoint and is foreign code: it runs in Jinja's sandbox, which keeps it
    from Python's internals and from ranges over 100,000. Neither its time nor its memory is bounded:
    nested loops or a multiplied string can take as much of both as they like.

    The templates in use ask `strftime_now` for the day only, so what they render is stable within a day.

    Args:
        source: the template's text.
        today: what `strftime_now` formats.

    Raises:
        ImportRefused: the template is not Jinja.
    """

    def __init__(self, source: str, today: Callable[[], datetime]) -> None:
        def strftime_now(form: str) -> str:
            return today().strftime(form)

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = to_json  # pyright: ignore[reportUnknownMemberType] -- untyped in jinja2
        functions = {"raise_exception": _raise_exception, "strftime_now": strftime_now}
        try:
            self._template = environment.from_string(source, globals=functions)
        except TemplateError as error:
            raise ImportRefused(f"the chat template is not valid Jinja: {error}") from error

    def render(self, variables: Mapping[str, object]) -> str:
        """The text for these variables.

        Raises:
            InvalidRequest: whatever the template raised, in its own words.
        """
        try:
            return self._template.render(variables)
        except Exception as error:  # a template is foreign code: it may raise anything
            reason = str(error) or type(error).__name__
            raise InvalidRequest(reason, param="messages") from error


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's words for training; here its body is plain text."""

    tags = {"generation"}  # noqa: RUF012 -- the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: Jinja's own filter escapes for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
