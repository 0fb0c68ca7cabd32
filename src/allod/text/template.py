"""Conversations to prompt text, by the checkpoint's own Jinja template."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from allod.core.errors import InvalidRequest
from allod.core.request import Conversation, Message
from allod.core.tools import Tool
from allod.text.canonical import canonical
from allod.text.generic_tools import writer_for
from allod.text.jinja import FUNCTION_NAMES, SandboxedTemplate
from allod.text.probe import probed
from allod.text.traits import Traits
from allod.text.turns import json_object, offers, turn

_GOES_ON = "ANSWER_GOES_ON_HERE"
_OURS = FUNCTION_NAMES | {"messages", "tools", "add_generation_prompt", "continue_final_message"}
_ARGUMENTS_FIELD = "chat_template_kwargs"


class JinjaChatTemplate:
    """A `ChatTemplate` that renders what Hugging Face's `apply_chat_template` renders.

    Templates differ in the roles they know, and some drop what they do not know. What this one takes is
    found out once, by rendering canaries; a message that would not reach the model is said in another way
    (see `canonical` and `calls`), and refused where there is none. A template that does not write tools
    gets them in words (see `generic_tools`).

    Args:
        source: the template's text.
        special_tokens: names such as `bos_token` that the template may use, with their text.
        today: what `strftime_now` formats.
        tool_source: the checkpoint's template named `tool_use`, for conversations with tools in them.

    Attributes:
        source: the text of the template, or of both, by which a dialect of calls is chosen.

    Raises:
        ImportRefused: the template is not Jinja.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        today: Callable[[], datetime],
        tool_source: str | None = None,
    ) -> None:
        self.source = source if tool_source is None else f"{source}\n{tool_source}"
        self._special_tokens = dict(special_tokens)
        self._plain = _Voice(source, special_tokens, today)
        self._with_tools = _Voice(tool_source, special_tokens, today) if tool_source else self._plain

    @property
    def takes_tools(self) -> bool:
        """Whether the checkpoint's own template writes tools; else a generic form is used."""
        return self._with_tools.traits.tools

    def render(self, conversation: Conversation) -> str:
        """The prompt text, ending where the assistant's answer starts.

        Raises:
            InvalidRequest: the template refuses these messages; names the message at fault if it can.
        """
        messages = conversation.messages
        tools = () if conversation.tool_choice == "none" else conversation.tools
        _check_continuation(conversation)
        variables = self._variables(conversation)
        has_tools = bool(tools) or any(turn.tool_calls or turn.role == "tool" for turn in messages)
        voice = self._with_tools if has_tools else self._plain
        offers(tools)  # refuses a schema in its own words
        try:
            return voice.say(messages, tools, variables, goes_on=conversation.continue_last)
        except InvalidRequest as refusal:
            index = voice.find_fault(messages, tools, variables)
            param = "messages" if index is None else f"messages[{index}]"
            raise InvalidRequest(
                f"{param}: the model's chat template refuses this conversation: {refusal.message}",
                param=param,
            ) from refusal

    def _variables(self, conversation: Conversation) -> dict[str, object]:
        """What the template may use beside the messages; what the client names weighs more."""
        arguments = json_object(conversation.template_arguments or "{}")
        if arguments is None:
            raise InvalidRequest(
                f"{_ARGUMENTS_FIELD}: this is not a JSON object; send one of template variables",
                param=_ARGUMENTS_FIELD,
            )
        for name in arguments:
            if name in _OURS or name in self._special_tokens:
                param = f"{_ARGUMENTS_FIELD}.{name}"
                raise InvalidRequest(
                    f"{param}: the server sets this template variable itself; leave it out", param=param
                )
        thinking: dict[str, object] = {}
        if conversation.thinking is not None:
            thinking = dict.fromkeys(("enable_thinking", "thinking"), conversation.thinking)
        return {"documents": None, **self._special_tokens, **thinking, **arguments}


class _Voice:
    """One template with what is known of it."""

    def __init__(self, source: str, special_tokens: Mapping[str, str], today: Callable[[], datetime]) -> None:
        self._template = SandboxedTemplate(source, today)
        self._writer = writer_for(source)
        variables: dict[str, object] = {"documents": None, **special_tokens}

        def draw(messages: Sequence[Message], tools: Sequence[Tool], traits: Traits) -> str:
            return self._draw(messages, tools, traits, variables)

        self.traits = probed(draw, self._writer, names_developer="developer" in source)

    def say(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        variables: Mapping[str, object],
        *,
        goes_on: bool = False,
    ) -> str:
        """The prompt; with `goes_on` it ends with the words of the last message.

        Raises:
            InvalidRequest: the template refuses, in its own words.
        """
        turns = canonical(messages, tools, self.traits, self._writer)
        native = tools if self.traits.tools else ()
        if not goes_on:
            return self._draw(turns, native, self.traits, variables)
        # The mark's space tells whether the template trims, for then it trims the client's last space too.
        turns[-1] = replace(turns[-1], content=f"{turns[-1].content}{_GOES_ON} ")
        text = self._draw(turns, native, self.traits, variables, prompts=False)
        head, mark, tail = text.rpartition(_GOES_ON)
        if not mark:
            raise InvalidRequest("it does not show the last message, which the answer is to continue")
        return head if tail.startswith(" ") else head.rstrip()

    def find_fault(
        self, messages: Sequence[Message], tools: Sequence[Tool], variables: Mapping[str, object]
    ) -> int | None:
        """The message with which the refusals begin, by bisection; None if no message is to blame."""
        if self._refuses((Message("user", "?"),), tools, variables) or not self._refuses(
            messages, tools, variables
        ):
            return None
        fine, refused = 0, len(messages)
        while refused - fine > 1:
            middle = (fine + refused) // 2
            if self._refuses(messages[:middle], tools, variables):
                refused = middle
            else:
                fine = middle
        return refused - 1 if refused else None

    def _refuses(
        self, messages: Sequence[Message], tools: Sequence[Tool], variables: Mapping[str, object]
    ) -> bool:
        try:
            self.say(messages, tools, variables)
        except InvalidRequest:
            return True
        return False

    def _draw(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        traits: Traits,
        variables: Mapping[str, object],
        *,
        prompts: bool = True,
    ) -> str:
        return self._template.render(
            {
                **variables,
                "messages": [turn(message, traits) for message in messages],
                "tools": offers(tools) or ([] if traits.tools_are_listed else None),
                "add_generation_prompt": prompts,
            }
        )


def _check_continuation(conversation: Conversation) -> None:
    if not conversation.continue_last:
        return
    last = conversation.messages[-1] if conversation.messages else None
    if last is None or last.role != "assistant" or last.tool_calls:
        param = f"messages[{max(0, len(conversation.messages) - 1)}]"
        raise InvalidRequest(
            f"{param}: only an assistant message without tool calls can be continued; "
            "put one last, or let a new answer begin",
            param=param,
        )
