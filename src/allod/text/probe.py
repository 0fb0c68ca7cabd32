"""Finding out what a chat template takes, by rendering canaries and looking for them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

from allod.core.errors import InvalidRequest
from allod.core.request import Message, Role
from allod.core.tools import Tool, ToolCall
from allod.text.generic_tools import CallWriter, with_written_calls
from allod.text.traits import Traits

Draw = Callable[[Sequence[Message], Sequence[Tool], Traits], str]
"""Renders messages as they are; raises InvalidRequest where the template does."""

_GOLD, _SILVER, _IRON, _TIN = "canary_gold", "canary_silver", "canary_iron", "canary_tin"
_QUESTION = Message("user", _IRON)
_ANSWER = Message("assistant", _TIN)
_VALUE, _OTHER_VALUE = "canary_value", "canary_treasure"
_CALL = ToolCall("call_canary_1", "canary_tool", f'{{"canary_key": "{_VALUE}"}}')
_OTHER_CALL = ToolCall("call_canary_2", "canary_tool", f'{{"canary_key": "{_OTHER_VALUE}"}}')
_CALLING = Message("assistant", "", tool_calls=(_CALL,))
_TOOL = Tool(
    "canary_tool",
    "A bird.",
    '{"type": "object", "properties": {"canary_key": {"type": "string", "description": "A word."}}}',
)


def probed(draw: Draw, writer: CallWriter, *, names_developer: bool) -> Traits:
    """What the template takes. One that does not even show a user's words is left to itself.

    Args:
        draw: renders with the template.
        writer: how calls are written where the template does not show them.
        names_developer: the template's text has the developer role in it.
    """
    probe = _Probe(draw)
    probe.find_content_forms()
    if not probe.shows(_QUESTION):
        probe.learn(tools_are_listed=True)
        probe.find_content_forms()
    if not probe.shows(_QUESTION):
        return Traits()
    probe.find_system_manners(names_developer)
    probe.learn(tools=_TOOL.name in probe.drawn(_QUESTION, tools=(_TOOL,)))
    if probe.traits.tools:
        probe.find_call_form()
        probe.find_result_manners(writer)
    probe.find_turn_manners()
    return probe.traits


_CONTENT_PROBES: tuple[tuple[Role, tuple[Message, ...]], ...] = (
    ("user", (_QUESTION,)),
    ("assistant", (_QUESTION, _ANSWER, _QUESTION)),
    ("system", (Message("system", _GOLD), _QUESTION)),
)


class _Probe:
    """Holds what is known so far: later probes are drawn with what earlier ones have shown."""

    def __init__(self, draw: Draw) -> None:
        self.traits = Traits()
        self._draw = draw

    def learn(self, **traits: object) -> None:
        """Take down what a probe has shown."""
        self.traits = replace(self.traits, **traits)

    def drawn(self, *messages: Message, tools: tuple[Tool, ...] = (), traits: Traits | None = None) -> str:
        """The rendered text; empty where the template refuses."""
        try:
            return self._draw(messages, tools, traits or self.traits)
        except InvalidRequest:
            return ""

    def shows(self, *messages: Message, traits: Traits | None = None, offers: bool = True) -> bool:
        """Whether every canary among these messages is shown, in their order; by default with tools."""
        tools = (_TOOL,) if self.traits.tools and offers else ()
        text = self.drawn(*messages, tools=tools, traits=traits)
        position = 0
        for canary in (message.content for message in messages if message.content):
            position = text.find(canary, position) + 1
            if not position:
                return False
        return bool(text)

    def find_content_forms(self) -> None:
        for role, turns in _CONTENT_PROBES:
            self.find_content_form(role, turns)

    def find_content_form(self, role: Role, turns: Sequence[Message]) -> None:
        """A list where a string is lost and a list is not."""
        listed = replace(self.traits, listed=self.traits.listed | {role})
        if not self.shows(*turns) and self.shows(*turns, traits=listed):
            self.traits = listed

    def find_system_manners(self, names_developer: bool) -> None:
        gold, silver = Message("system", _GOLD), Message("user", _SILVER)
        if _GOLD not in self.drawn(gold, silver):
            self.learn(system="never")
        elif _GOLD not in self.drawn(gold, _QUESTION, _ANSWER):
            self.learn(system="before_user")
        self.learn(
            several_systems=self.shows(gold, Message("system", _SILVER), _QUESTION),
            late_systems=self.shows(_QUESTION, _ANSWER, gold, silver),
            developer=names_developer and self.shows(Message("developer", _GOLD), silver),
        )

    def find_turn_manners(self) -> None:
        gold, silver = Message("assistant", _GOLD), Message("assistant", _SILVER)
        repeats: set[Role] = set()
        if self.shows(_QUESTION, Message("user", _GOLD)):
            repeats.add("user")
        if self.shows(_QUESTION, gold, silver, Message("user", _TIN)):
            repeats.add("assistant")
        system = Message("system", _GOLD)
        alone = self.traits.system == "never" or self.shows(system, offers=False)
        self.learn(
            repeats=frozenset(repeats),
            opens_with_answer=self.shows(gold, _QUESTION, offers=False),
            lives_without_user=alone and self.shows(gold, offers=False),
        )
        if self.traits.tools:
            text = self.drawn(_CALLING, _QUESTION, tools=(_TOOL,))
            is_whole = self.shows(system) and (_VALUE in text or not self.traits.calls)
            self.learn(tools_need_question=not is_whole)

    def find_call_form(self) -> None:
        """The first form in which name and arguments are shown as JSON or bare, not as Python prints them."""
        forms = product(("object", "text"), (False, True), ("any", "short", "named"))
        for arguments, null_content, identifiers in forms:
            traits = replace(
                self.traits, arguments=arguments, null_content=null_content, identifiers=identifiers
            )
            call = _CALL if identifiers != "named" else replace(_CALL, identifier=f"functions.{_CALL.name}:0")
            turns = (_QUESTION, replace(_CALLING, tool_calls=(call,)))
            result = Message("tool", _GOLD, "", (), call.identifier)
            text = self.drawn(*turns, result, tools=(_TOOL,), traits=traits) or self.drawn(
                *turns, tools=(_TOOL,), traits=traits
            )
            without = self.drawn(_QUESTION, _ANSWER, tools=(_TOOL,), traits=traits)
            is_named = text.count(_CALL.name) > without.count(_CALL.name)
            is_python = text.count("'canary_key'") > without.count("'canary_key'")
            if is_named and _VALUE in text and not is_python:
                self.traits = traits
                return
        self.learn(calls=False)

    def find_result_manners(self, writer: CallWriter) -> None:
        call = _CALLING if self.traits.calls else with_written_calls(_CALLING, writer)
        result = Message("tool", _GOLD, _CALL.name, (), _CALL.identifier)
        self.find_content_form("tool", (_QUESTION, call, result))
        user, stray = Message("user", _SILVER), replace(result, call_identifier=None, name="")
        parted = self.drawn(_QUESTION, call, user, result, tools=(_TOOL,))
        self.learn(
            results=self.shows(_QUESTION, call, result),
            stray_results=self.shows(_QUESTION, stray, _ANSWER)
            and self.shows(_QUESTION, _ANSWER, stray, replace(_ANSWER, content=_SILVER)),
            parted_results=not parted or _GOLD in parted,
            unanswered_calls=self.shows(_QUESTION, call, user),
            user_after_result=self.shows(_QUESTION, call, result, user),
        )
        if self.traits.calls and self.traits.results:
            self._find_call_manners(result)

    def _find_call_manners(self, result: Message) -> None:
        other = replace(result, content=_SILVER, call_identifier=_OTHER_CALL.identifier)
        both = replace(_CALLING, tool_calls=(_CALL, _OTHER_CALL))
        text = self.drawn(_QUESTION, both, result, other, tools=(_TOOL,))
        self.learn(several_calls=all(word in text for word in (_VALUE, _OTHER_VALUE, _GOLD, _SILVER)))
        words = replace(_CALLING, content=_SILVER)
        after = (result, _ANSWER, _QUESTION)
        if _holds(self.drawn(_QUESTION, words, *after, tools=(_TOOL,)), _SILVER, _VALUE):
            return
        apart = (replace(words, tool_calls=()), _CALLING)
        is_shown = _holds(self.drawn(_QUESTION, *apart, *after, tools=(_TOOL,)), _SILVER, _VALUE)
        self.learn(text_with_calls="apart" if is_shown else "lost")


def _holds(text: str, *words: str) -> bool:
    return all(word in text for word in words)
