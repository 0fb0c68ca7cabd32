"""Conversations to prompt text, by the checkpoint's own Jinja template."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from allod.core.errors import InvalidRequest, refused
from allod.core.pictures import marks_in
from allod.core.request import Conversation, Message
from allod.core.tools import Tool
from allod.text.canonical import canonical
from allod.text.generic_tools import writer_for
from allod.text.jinja import FUNCTION_NAMES, SandboxedTemplate
from allod.text.picture_forms import with_marks
from allod.text.picture_probe import picture_form, with_picture_manners
from allod.text.probe import probed
from allod.text.traits import Traits
from allod.text.turns import has_picture_parts, json_object, offers, turn

_GOES_ON = "ANSWER_GOES_ON_HERE"
_OURS = FUNCTION_NAMES | {"messages", "tools", "add_generation_prompt", "continue_final_message"}
_ARGUMENTS_FIELD = "chat_template_kwargs"


class JinjaChatTemplate:
    """A `ChatTemplate` that renders what Hugging Face's `apply_chat_template` renders.

    Templates differ in the roles they know, and some drop what they do not know. What this one takes is
    found out once, by rendering canaries; a message that would not reach the model is said in another way
    (see `canonical` and `calls`), and refused where there is none. A template that does not write tools
    gets them in words (see `generic_tools`).

    Pictures are found in the prompt as their marks, whatever the template writes for them.

    Args:
        source: the template's text.
        special_tokens: names such as `bos_token` that the template may use, with their text.
        today: what `strftime_now` formats.
        tool_source: the checkpoint's template named `tool_use`, for conversations with tools in them.
        picture_word: what stands for a picture in a text where the template itself shows none.

    Attributes:
        source: the text of the template, or of both, by which a dialect of calls is chosen.
        picture_form: what a mark in a prompt stands for, in the words of the template or else
            `picture_word`; empty where this model is shown no pictures.

    Raises:
        ImportRefused: the template is not Jinja.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        today: Callable[[], datetime],
        tool_source: str | None = None,
        *,
        picture_word: str = "",
    ) -> None:
        self.source = source if tool_source is None else f"{source}\n{tool_source}"
        self._special_tokens = dict(special_tokens)
        self._plain = self._with_tools = _Voice(source, special_tokens, today, picture_word)
        if tool_source:
            word = self._plain.picture_form
            self._with_tools = _Voice(tool_source, special_tokens, today, word)
        self.picture_form = self._plain.picture_form or self._with_tools.picture_form

    @property
    def takes_tools(self) -> bool:
        """Whether the checkpoint's own template writes tools; else a generic form is used."""
        return self._with_tools.traits.tools

    def render(self, conversation: Conversation) -> str:
        """The prompt text, ending where the assistant's answer starts, with each picture's mark once.

        Raises:
            InvalidRequest: the template refuses these messages, or does not show a picture; names the
                message or the picture at fault if it can.
        """
        messages = conversation.messages
        tools = () if conversation.tool_choice == "none" else conversation.tools
        _check_continuation(conversation)
        variables = self._variables(conversation)
        has_tools = bool(tools) or any(turn.tool_calls or turn.role == "tool" for turn in messages)
        voice = self._with_tools if has_tools else self._plain
        offers(tools)  # refuses a schema in its own words
        pictured = bool(conversation.pictures)
        if pictured and not voice.picture_form:
            raise _unseen(conversation, 0, "cannot show pictures; leave them out, or ask a model that sees")
        try:
            prompt = voice.say(messages, tools, variables, pictured, goes_on=conversation.continue_last)
        except InvalidRequest as refusal:
            index = voice.find_fault(messages, tools, variables, pictured)
            param = "messages" if index is None else f"messages[{index}]"
            raise InvalidRequest(
                f"{param}: the model's chat template refuses this conversation: {refusal.message}",
                param=param,
            ) from refusal
        _check_pictures(conversation, prompt)
        return prompt

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
        return {**thinking, **arguments}


class _Voice:
    """One template with what is known of it.

    Attributes:
        traits: what it takes.
        picture_form: what it writes for a picture, or else the word for one; empty where there is neither.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        today: Callable[[], datetime],
        picture_word: str,
    ) -> None:
        self._template = SandboxedTemplate(source, today)
        self._writer = writer_for(source)
        self._special_tokens = {"documents": None, **special_tokens}
        self.traits = probed(self._drawn, self._writer, names_developer="developer" in source)
        form = picture_form(self._drawn, self.traits)
        if form:
            self._with_pictures = with_picture_manners(self._drawn, self.traits, self._writer, form)
        else:
            self._with_pictures = replace(self.traits, pictures=frozenset({"user"}), picture_words=True)
        self.picture_form = form or picture_word

    def say(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        variables: Mapping[str, object],
        pictured: bool,
        *,
        goes_on: bool = False,
    ) -> str:
        """The prompt; with `goes_on` it ends with the words of the last message.

        Raises:
            InvalidRequest: the template refuses, in its own words.
        """
        traits = self._with_pictures if pictured else self.traits
        turns = canonical(messages, tools, traits, self._writer)
        native = tools if self.traits.tools else ()
        if not goes_on:
            return self._shown(turns, traits, _given(turns, native, traits, variables))
        # The mark's space tells whether the template trims, for then it trims the client's last space too.
        turns[-1] = replace(turns[-1], content=f"{turns[-1].content}{_GOES_ON} ")
        text = self._shown(turns, traits, _given(turns, native, traits, variables, prompts=False))
        head, mark, tail = text.rpartition(_GOES_ON)
        if not mark:
            raise InvalidRequest("it does not show the last message, which the answer is to continue")
        return head if tail.startswith(" ") else head.rstrip()

    def find_fault(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        variables: Mapping[str, object],
        pictured: bool,
    ) -> int | None:
        """The message with which the refusals begin, by bisection; None if no message is to blame."""

        def refuses(part: Sequence[Message]) -> bool:
            try:
                self.say(part, tools, variables, pictured)
            except InvalidRequest:
                return True
            return False

        if refuses((Message("user", "?"),)) or not refuses(messages):
            return None
        fine, refused = 0, len(messages)
        while refused - fine > 1:
            middle = (fine + refused) // 2
            if refuses(messages[:middle]):
                refused = middle
            else:
                fine = middle
        return refused - 1 if refused else None

    def _drawn(self, messages: Sequence[Message], tools: Sequence[Tool], traits: Traits) -> str:
        """Messages as they are, for probes."""
        return self._rendered(_given(messages, tools, traits, {}))

    def _shown(self, turns: Sequence[Message], traits: Traits, given: Mapping[str, object]) -> str:
        """The text with the marks of pictures in it."""
        pictures = [
            picture for turn in turns if has_picture_parts(turn, traits) for picture in marks_in(turn.content)
        ]
        if not pictures:
            return self._rendered(given)
        return with_marks(self._rendered, given, self.picture_form, pictures)

    def _rendered(self, given: Mapping[str, object]) -> str:
        return self._template.render({**self._special_tokens, **given})


def _given(
    messages: Sequence[Message],
    tools: Sequence[Tool],
    traits: Traits,
    variables: Mapping[str, object],
    *,
    prompts: bool = True,
) -> dict[str, object]:
    """What the template is given beside the special tokens."""
    return {
        **variables,
        "messages": [turn(message, traits) for message in messages],
        "tools": offers(tools) or ([] if traits.tools_are_listed else None),
        "add_generation_prompt": prompts,
    }


def _check_pictures(conversation: Conversation, prompt: str) -> None:
    """Every picture is in the prompt, once. Without pictures, what looks like a mark is a user's word."""
    if not conversation.pictures:
        return
    shown = Counter(marks_in(prompt))
    count = len(conversation.pictures)
    if any(index >= count or times > 1 for index, times in shown.items()):
        raise refused(
            "messages",
            "U+FFFC and a private-use character behind it stand for a picture; "
            "take them out of the text beside pictures",
        )
    lost = next((index for index in range(count) if not shown[index]), None)
    if lost is not None:
        raise _unseen(
            conversation, lost, "does not show this picture in its place; put it into a user's message"
        )


def _unseen(conversation: Conversation, index: int, reason: str) -> InvalidRequest:
    return refused(conversation.pictures[index].field, f"the model's chat template {reason}")


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
