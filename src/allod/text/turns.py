"""Messages and tools as chat templates are given them: the dictionaries of the OpenAI protocol."""

import hashlib
import re
from collections.abc import Mapping, Sequence

import msgspec

from allod.core.errors import InvalidRequest
from allod.core.pictures import marks_in, pieces_of
from allod.core.request import Message
from allod.core.tools import Tool, ToolCall
from allod.text.jinja import to_json
from allod.text.traits import Traits

_SHORT_IDENTIFIER = re.compile(r"[A-Za-z0-9]{9}")


def turn(message: Message, traits: Traits) -> dict[str, object]:
    """One message. Keys are there only where they say something: templates ask `'name' in message`."""
    content: object = message.content
    if has_picture_parts(message, traits):
        content = [_part(piece) for piece in pieces_of(message.content)]
    elif message.role in traits.listed:
        content = [{"type": "text", "text": message.content}]
    elif message.tool_calls and traits.null_content and not message.content:
        content = None
    given: dict[str, object] = {"role": message.role, "content": content}
    if message.name is not None:
        given["name"] = message.name
    if message.reasoning:
        given |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
    if message.tool_calls:
        given["tool_calls"] = [_call(call, traits) for call in message.tool_calls]
    if message.role == "tool":
        given["tool_call_id"] = _identifier(message.call_identifier or "", traits)
    return given


def has_picture_parts(message: Message, traits: Traits) -> bool:
    """Whether the template is given pictures as parts of this message."""
    return message.role in traits.pictures and not traits.picture_words and bool(marks_in(message.content))


def offers(tools: Sequence[Tool]) -> list[dict[str, object]]:
    """The tools, keys in the order in which the client sent them.

    Raises:
        InvalidRequest: a tool's parameters are not a JSON object.
    """
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": _parameters(tool, index),
            },
        }
        for index, tool in enumerate(tools)
    ]


def json_object(text: str) -> dict[str, object] | None:
    """The object that this JSON text stands for; None if it is anything else or broken."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def arguments_text(call: ToolCall) -> str:
    """A call's arguments as the model or the client wrote them; what is no object is wrapped in one."""
    if not call.arguments.strip():
        return "{}"
    return call.arguments if json_object(call.arguments) is not None else to_json({"_raw": call.arguments})


def arguments_of(call: ToolCall) -> dict[str, object]:
    """A call's arguments as an object; what is none is wrapped in one."""
    return json_object(arguments_text(call)) or {}


def _part(piece: str | int) -> dict[str, object]:
    return {"type": "text", "text": piece} if isinstance(piece, str) else {"type": "image"}


def _call(call: ToolCall, traits: Traits) -> Mapping[str, object]:
    arguments = arguments_text(call) if traits.arguments == "text" else arguments_of(call)
    return {
        "id": _identifier(call.identifier, traits),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _identifier(identifier: str, traits: Traits) -> str:
    """The identifier, or where the template takes only short ones the start of its BLAKE2b in hexadecimal."""
    if traits.identifiers != "short" or _SHORT_IDENTIFIER.fullmatch(identifier):
        return identifier
    return hashlib.blake2b(identifier.encode(errors="replace")).hexdigest()[:9]


def _parameters(tool: Tool, index: int) -> dict[str, object]:
    """The schema; templates walk `properties` without asking whether there are any."""
    schema = json_object(tool.parameters or "{}")
    if schema is None:
        param = f"tools[{index}].function.parameters"
        raise InvalidRequest(
            f"{param}: this is not a JSON object; send the JSON Schema of the tool's arguments", param=param
        )
    gaps: dict[str, object] = {"type": "object", "properties": {}}
    return schema | {key: value for key, value in gaps.items() if key not in schema}
