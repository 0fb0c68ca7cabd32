"""Conversations to prompt text, by the checkpoint's own Jinja template."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from typing import NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from allod.core.errors import ImportRefused, InvalidRequest
from allod.core.request import Message, Role

_FIRST_CANARY = "canary-of-gold"
_SECOND_CANARY = "canary-of-silver"
_QUESTION = Message("user", "question")
_ANSWER = Message("assistant", "answer")


class JinjaChatTemplate:
    """A `ChatTemplate` that renders what Hugging Face's `apply_chat_template` renders.

    Templates differ in the roles they know, and some drop what they do not know. What this one does
    with system messages is found out once, by rendering canaries; a message that would not reach
    the model is moved or refused, never lost:

    - `developer` becomes `system`, unless the template names the developer role and shows it.
    - Several system messages at the start become one where the template takes only one.
    - A system message the template does not take is an InvalidRequest that names it.

    A template comes with a checkpoint and is foreign code: it runs in Jinja's sandbox, which keeps it
    from Python's internals and from ranges over 100,000. Neither its time nor its memory is bounded:
    nested loops or a multiplied string can take as much of both as they like.

    Args:
        source: the template's text.
        special_tokens: names such as `bos_token` that the template may use, with their text.
        today: what `strftime_now` formats.

    Raises:
        ImportRefused: the template is not Jinja.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], today: Callable[[], datetime]) -> None:
        try:
            self._template = _compiled(source, today)
        except TemplateError as error:
            raise ImportRefused(f"the chat template is not valid Jinja: {error}") from error
        self._special_tokens = dict(special_tokens)
        self._knows_developer = "developer" in source and self._shows(
            Message("developer", _FIRST_CANARY), _QUESTION
        )
        self._takes_system = self._shows(Message("system", _FIRST_CANARY), _QUESTION)
        self._takes_two_systems = self._shows(
            Message("system", _FIRST_CANARY), Message("system", _SECOND_CANARY), _QUESTION
        )
        self._takes_late_system = self._shows(_QUESTION, _ANSWER, Message("system", _FIRST_CANARY), _QUESTION)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text, ending where the assistant's answer starts.

        Raises:
            InvalidRequest: the template refuses these messages; names the message at fault if it can.
        """
        known = [self._in_known_role(message) for message in messages]
        leading = len(list(takewhile(_is_system, known)))
        self._check_systems(known, leading)
        if leading > 1 and not self._takes_two_systems:
            text = "\n\n".join(message.content for message in known[:leading])
            known[:leading] = [Message("system", text)]
        return self._render(known)

    def _in_known_role(self, message: Message) -> Message:
        if message.role == "developer" and not self._knows_developer:
            return replace(message, role="system")
        return message

    def _check_systems(self, messages: Sequence[Message], leading: int) -> None:
        if leading and not self._takes_system:
            raise InvalidRequest(
                "messages[0]: this model's chat template takes no system message; "
                "put its text into the first user message",
                param="messages[0]",
            )
        for index, message in enumerate(messages):
            if index >= leading and _is_system(message) and not self._takes_late_system:
                raise InvalidRequest(
                    f"messages[{index}]: this model's chat template takes system messages only at the "
                    "start of the conversation; move it there or send it as a user message",
                    param=f"messages[{index}]",
                )

    def _shows(self, *messages: Message) -> bool:
        """Whether the template renders these messages and keeps every canary among them."""
        try:
            text = self._render(messages)
        except InvalidRequest:
            return False
        canaries = {message.content for message in messages} & {_FIRST_CANARY, _SECOND_CANARY}
        return all(canary in text for canary in canaries)

    def _render(self, messages: Sequence[Message]) -> str:
        try:
            return self._template.render(
                self._special_tokens,
                messages=[_as_dict(message) for message in messages],
                add_generation_prompt=True,
                tools=None,
            )
        except Exception as error:  # a template is foreign code: it may raise anything
            reason = str(error) or type(error).__name__
            raise InvalidRequest(
                f"messages: the model's chat template refuses this conversation: {reason}", param="messages"
            ) from error


_SYSTEM_ROLES: frozenset[Role] = frozenset({"system", "developer"})


def _is_system(message: Message) -> bool:
    return message.role in _SYSTEM_ROLES


def _as_dict(message: Message) -> dict[str, str]:
    turn = {"role": message.role, "content": message.content}
    return turn if message.name is None else turn | {"name": message.name}


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's words for training; here its body is plain text."""

    tags = {"generation"}  # noqa: RUF012 -- the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _compiled(source: str, today: Callable[[], datetime]) -> Template:
    """A template in the environment that chat templates expect."""

    def strftime_now(form: str) -> str:
        return today().strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json  # pyright: ignore[reportUnknownMemberType] -- untyped in jinja2
    functions = {"raise_exception": _raise_exception, "strftime_now": strftime_now}
    return environment.from_string(source, globals=functions)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(
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
