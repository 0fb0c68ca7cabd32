"""Tools for models whose chat template knows none: the Hermes form, in words that any model can follow.

The tools stand in the system message as JSON lines between `<tools>` marks; a call is a JSON object
between `<tool_call>` marks in the assistant's text; results are `<tool_response>` blocks in a user's turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby, takewhile

from allod.core.request import Message
from allod.core.tools import Tool, ToolCall
from allod.text.jinja import to_json
from allod.text.traits import SYSTEM_ROLES
from allod.text.turns import arguments_of, arguments_text, offers

CallWriter = Callable[[Sequence[ToolCall]], str]
"""Calls as text of an assistant's turn."""

_HEAD = """# Tools

You can call the functions listed between <tools></tools>, one JSON object a line:
<tools>
"""
_TAIL = """
</tools>

To call a function, answer with a JSON object of its name and its arguments between <tool_call></tool_call>, \
one such block for each call:
<tool_call>
{"name": <function name>, "arguments": <object of arguments>}
</tool_call>
Results come back between <tool_response></tool_response>. Where no call is needed, answer in plain words."""


def in_generic_form(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The conversation in words alone: no calls, no tool role, and the tools in the system message.

    Raises:
        InvalidRequest: a tool's parameters are not a JSON object.
    """
    spoken: list[Message] = []
    for is_result, turns in groupby(messages, key=lambda message: message.role == "tool"):
        if is_result:
            spoken.append(Message("user", "\n".join(written_result(message) for message in turns)))
        else:
            spoken += [with_written_calls(message, hermes_calls) for message in turns]
    return _with_section(spoken, _section(tools)) if tools else spoken


def with_written_calls(message: Message, writer: CallWriter) -> Message:
    """The message with its calls at the end of its text."""
    if not message.tool_calls:
        return message
    parts = (message.content, writer(message.tool_calls))
    return replace(message, content="\n".join(filter(None, parts)), tool_calls=())


def written_result(message: Message) -> str:
    """A tool's result as a block of a user's turn."""
    return f"<tool_response>\n{message.content}\n</tool_response>"


def hermes_calls(calls: Sequence[ToolCall]) -> str:
    """One `<tool_call>` block a call, the arguments as they were written."""
    return "\n".join(f"<tool_call>\n{_written(call)}\n</tool_call>" for call in calls)


def writer_for(source: str) -> CallWriter:
    """How a template that lists tools but drops calls has its model write them; Hermes by default."""
    return next((writer for mark, writer in _WRITERS if mark in source), hermes_calls)


def _listed_calls(calls: Sequence[ToolCall]) -> str:
    """The form of Granite 3 and Phi-4-mini, a JSON list after a mark."""
    return f"<|tool_call|>[{', '.join(map(_written, calls))}]"


def _python_calls(calls: Sequence[ToolCall]) -> str:
    """LFM2's form, a list of Python calls."""
    written = (
        f"{call.name}({', '.join(f'{key}={value!r}' for key, value in arguments_of(call).items())})"
        for call in calls
    )
    return f"<|tool_call_start|>[{', '.join(written)}]<|tool_call_end|>"


_WRITERS: tuple[tuple[str, CallWriter], ...] = (
    ("<|tool_call|>", _listed_calls),
    ("<|tool_response_start|>", _python_calls),
)


def _written(call: ToolCall) -> str:
    return f'{{"name": {to_json(call.name)}, "arguments": {arguments_text(call)}}}'


def _section(tools: Sequence[Tool]) -> str:
    return _HEAD + "\n".join(map(to_json, offers(tools))) + _TAIL


def _with_section(messages: Sequence[Message], section: str) -> list[Message]:
    """The section after the words of the last system message of those at the start."""
    leading = len(list(takewhile(lambda message: message.role in SYSTEM_ROLES, messages)))
    if not leading:
        return [Message("system", section), *messages]
    last = messages[leading - 1]
    content = f"{last.content}\n\n{section}" if last.content else section
    return [*messages[: leading - 1], replace(last, content=content), *messages[leading:]]
