"""Calls and results in the order and form that a chat template takes.

Clients send back histories as they have them: calls without results, results without calls, several calls
in a turn, words beside them. A template may take none of this. What it does not take is said in another
way, so that no word is lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from allod.core.request import Message
from allod.core.tools import ToolCall
from allod.text.generic_tools import CallWriter, with_written_calls, written_result
from allod.text.traits import SYSTEM_ROLES, Traits

_Pass = Callable[[Sequence[Message]], list[Message]]


def linked(messages: Sequence[Message]) -> list[Message]:
    """Every call with an identifier, and every result with its call's identifier and its tool's name.

    A result that names no call answers the oldest one that is open. A result whose call is not among
    those made since the last words of either side is a stray: it has no identifier afterwards.
    """
    done: list[Message] = []
    open_calls: list[ToolCall] = []
    made = 0
    for message in messages:
        if message.role == "tool":
            done.append(_linked_result(message, open_calls))
            continue
        if message.role not in SYSTEM_ROLES and not message.tool_calls:
            open_calls.clear()
        calls = tuple(
            call if call.identifier else replace(call, identifier=f"call{made + index:05}")
            for index, call in enumerate(message.tool_calls)
        )
        made += len(calls)
        open_calls += calls
        done.append(replace(message, tool_calls=calls) if calls else message)
    return done


def arranged(messages: Sequence[Message], traits: Traits, writer: CallWriter) -> list[Message]:
    """Linked messages as a template with these traits takes them."""
    passes: tuple[tuple[bool, _Pass], ...] = (
        # Before strays become words, which would part what a system message only stood between.
        (not traits.parted_results, systems_after_results),
        (not traits.parted_results, _strays_last),
        (not traits.stray_results, _without_strays),
        (not traits.results, _results_as_words),
        (not traits.calls, lambda turns: [with_written_calls(turn, writer) for turn in turns]),
        (traits.identifiers == "named", _named_calls),
        (not traits.several_calls, _one_call_a_turn),
        (not traits.unanswered_calls, _answered),
        (traits.text_with_calls == "apart", _words_apart),
        (traits.text_with_calls == "lost", _words_before),
    )
    arrangement = list(messages)
    for is_needed, change in passes:
        if is_needed:
            arrangement = change(arrangement)
    return arrangement


def systems_after_results(turns: Sequence[Message]) -> list[Message]:
    """With no system message between calls and their results."""
    done: list[Message] = []
    held: list[Message] = []
    for message in turns:
        if message.role in SYSTEM_ROLES and done and (done[-1].tool_calls or done[-1].role == "tool"):
            held.append(message)
            continue
        if message.role != "tool":
            done += held
            held = []
        done.append(message)
    return done + held


def joined(*texts: str) -> str:
    """The texts that are not empty, a blank line between them."""
    return "\n\n".join(filter(None, texts))


def _linked_result(message: Message, open_calls: list[ToolCall]) -> Message:
    wanted = message.call_identifier
    call = next((call for call in open_calls if not wanted or call.identifier == wanted), None)
    if call is None:
        return replace(message, call_identifier=None, name=message.name or "")
    open_calls.remove(call)
    return replace(message, call_identifier=call.identifier, name=message.name or call.name)


def _strays_last(messages: Sequence[Message]) -> list[Message]:
    """Of results in a row, those without a call behind the others."""
    runs = groupby(messages, key=lambda message: message.role == "tool")
    return [
        message
        for is_result, run in runs
        for message in sorted(run, key=lambda turn: is_result and turn.call_identifier is None)
    ]


def _without_strays(messages: Sequence[Message]) -> list[Message]:
    return [
        _as_words(message) if message.role == "tool" and message.call_identifier is None else message
        for message in messages
    ]


def _results_as_words(messages: Sequence[Message]) -> list[Message]:
    return [_as_words(message) if message.role == "tool" else message for message in messages]


def _as_words(result: Message) -> Message:
    return Message("user", written_result(result))


def _named_calls(messages: Sequence[Message]) -> list[Message]:
    """Identifiers as Kimi K2 makes them, `functions.name:number`, numbered over the conversation."""
    done: list[Message] = []
    renamed: list[tuple[str, str]] = []
    made = 0
    for message in messages:
        calls: list[ToolCall] = []
        for call in message.tool_calls:
            calls.append(replace(call, identifier=f"functions.{call.name}:{made}"))
            renamed.append((call.identifier, calls[-1].identifier))
            made += 1
        old = message.call_identifier
        pair = next((pair for pair in renamed if pair[0] == old), None)
        if pair is not None:
            renamed.remove(pair)
        new = pair[1] if pair else f"functions.{message.name}" if message.role == "tool" else None
        done.append(replace(message, tool_calls=tuple(calls), call_identifier=new))
    return done


def _one_call_a_turn(messages: Sequence[Message]) -> list[Message]:
    """Each call in a turn of its own, followed by its result."""
    done: list[Message] = []
    position = 0
    while position < len(messages):
        message = messages[position]
        position += 1
        if len(message.tool_calls) < 2:
            done.append(message)
            continue
        left = _results_at(messages, position)
        position += len(left)
        for index, call in enumerate(message.tool_calls):
            words = {} if index == 0 else {"content": "", "reasoning": None}
            done.append(replace(message, tool_calls=(call,), **words))
            answer = next((result for result in left if result.call_identifier == call.identifier), None)
            if answer is not None:
                left.remove(answer)
                done.append(answer)
        done += left
    return done


def _answered(messages: Sequence[Message]) -> list[Message]:
    """An empty result for every call that the conversation passes over."""
    done: list[Message] = []
    missing: dict[str, str] = {}
    for message in messages:
        if message.role == "tool":
            missing.pop(message.call_identifier or "", None)
        else:
            done += [Message("tool", "", name, (), identifier) for identifier, name in missing.items()]
            missing = {call.identifier: call.name for call in message.tool_calls}
        done.append(message)
    return done


def _words_apart(messages: Sequence[Message]) -> list[Message]:
    """Words beside calls as a turn before them; the reasoning stays with the calls."""
    done: list[Message] = []
    for message in messages:
        if message.tool_calls and message.content:
            done.append(replace(message, tool_calls=(), reasoning=None))
            message = replace(message, content="")  # noqa: PLW2901 -- what is left of it
        done.append(message)
    return done


def _words_before(messages: Sequence[Message]) -> list[Message]:
    """Words beside calls as a note at the end of the turn before, where nothing else can hold them."""
    done: list[Message] = []
    for message in messages:
        if message.tool_calls and message.content:
            note = f"[assistant] {message.content}"
            if done and done[-1].role in ("user", "tool"):
                done[-1] = replace(done[-1], content=joined(done[-1].content, note))
            else:
                done.append(Message("user", note))
            message = replace(message, content="")  # noqa: PLW2901 -- what is left of it
        done.append(message)
    return done


def _results_at(messages: Sequence[Message], start: int) -> list[Message]:
    end = start
    while end < len(messages) and messages[end].role == "tool":
        end += 1
    return list(messages[start:end])
