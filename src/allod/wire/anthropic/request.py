"""Request bodies to generation requests. The last place that sees the dialect."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TypeVar

from pydantic import ValidationError

from allod.core.errors import refused
from allod.core.formats import AnswerForm, JsonSchema, PlainText
from allod.core.ids import ModelName
from allod.core.pictures import Gallery
from allod.core.request import Conversation, GenerationRequest, Message
from allod.core.sampling import SamplingWishes
from allod.core.tools import NamedTool, Tool, ToolChoice
from allod.wire.anthropic.events import MessageEvents
from allod.wire.anthropic.refusal import refusal
from allod.wire.anthropic.schema import (
    ClientTool,
    CountTokensRequest,
    MessagesRequest,
    Prompted,
)
from allod.wire.anthropic.turns import system_messages, their_call, turn_messages
from allod.wire.anthropic.whole import MessageWhole
from allod.wire.body import parse_object
from allod.wire.dialect import Decoded, Envelope
from allod.wire.refusal import shown_name
from allod.wire.shape import Shape, json_text

AnyPrompted = TypeVar("AnyPrompted", bound=Prompted)

_THINKS: Mapping[str, bool] = {"enabled": True, "adaptive": True, "between_tools": True, "disabled": False}


def decode_messages(body: bytes, envelope: Envelope) -> Decoded:
    """A body of POST /v1/messages.

    Raises:
        InvalidRequest: it is wrong, or asks for what is not served here; names the field.
    """
    asked = _validated(MessagesRequest, body)
    request = GenerationRequest(
        request=envelope.request,
        model=_model(asked, envelope),
        source=_conversation(asked),
        tenant=envelope.tenant,
        sampling=SamplingWishes(temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k),
        max_tokens=asked.max_tokens,
        # Agents ask for what the cloud's models can write, whatever model they talk to.
        lower_max_tokens=True,
        stop=tuple(filter(None, asked.stop_sequences or ())),
        form=_form(asked),
        reasoning="field" if _thinks(asked) else "none",
    )
    return Decoded(
        requests=(request,),
        stream=bool(asked.stream),
        encoder=partial(MessageEvents, request=envelope.request),
        collector=MessageWhole,
        ignored=tuple(sorted(set(_ignored(asked)))),
    )


def decode_count(body: bytes, envelope: Envelope) -> GenerationRequest:
    """A body of POST /v1/messages/count_tokens, as the request whose prompt is to be counted.

    Raises:
        InvalidRequest: as for `decode_messages`.
    """
    asked = _validated(CountTokensRequest, body)
    return GenerationRequest(
        request=envelope.request,
        model=_model(asked, envelope),
        source=_conversation(asked),
        tenant=envelope.tenant,
        form=_form(asked),
    )


def _validated(shape: type[AnyPrompted], body: bytes) -> AnyPrompted:
    try:
        return shape.model_validate(parse_object(body))
    except ValidationError as error:
        raise refusal(error) from error


def _model(asked: Prompted, envelope: Envelope) -> ModelName:
    model = envelope.default_model() if asked.model is None else ModelName(asked.model)
    if model is None:
        raise refused("model", "Field required")
    return model


def _conversation(asked: Prompted) -> Conversation:
    gallery = Gallery()
    messages = [*system_messages(asked.system), *turn_messages(asked.messages, gallery)]
    continues = asked.messages[-1].role == "assistant"
    if continues and _is_void(messages[-1]):
        messages.pop()
        continues = False
    if not messages:
        raise refused("messages", "at least one message with content is required")
    if continues:
        _check_prefill(f"messages.{len(asked.messages) - 1}", messages[-1])
    tools = tuple(_tools(asked))
    choice, shape = _tool_choice(asked, tools), asked.tool_choice
    return Conversation(
        messages=tuple(messages),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=not (shape and shape.disable_parallel_tool_use),
        thinking=_thinks(asked),
        reasoning_tokens=asked.thinking.budget_tokens if asked.thinking and _thinks(asked) else None,
        continue_last=continues,
        pictures=tuple(gallery.pictures),
    )


def _is_void(message: Message) -> bool:
    return not (message.content or message.tool_calls or message.reasoning)


def _check_prefill(here: str, last: Message) -> None:
    """Refuse an answer that cannot be gone on with."""
    if last.tool_calls:
        ids = ", ".join(their_call(call.identifier) for call in last.tool_calls)
        raise refused(
            here, f"`tool_use` ids were found without `tool_result` blocks immediately after: {ids}"
        )
    if not last.content:
        raise refused(here, "The final block in an assistant message cannot be `thinking`.")
    if last.content != last.content.rstrip():
        raise refused("messages", "final assistant content cannot end with trailing whitespace")


def _thinks(asked: Prompted) -> bool:
    """Whoever does not ask for thinking gets none, and reads the answer's text from its first block."""
    return asked.thinking is not None and _THINKS[asked.thinking.type]


def _tools(asked: Prompted) -> Iterator[Tool]:
    """The tools that the client runs. Those that Anthropic's servers run cannot be called here."""
    names: set[str] = set()
    for tool in asked.tools or ():
        if not isinstance(tool, ClientTool):
            continue
        if tool.name in names:
            raise refused("tools", "Tool names must be unique.")
        names.add(tool.name)
        yield Tool(tool.name, tool.description or "", json_text(tool.input_schema), bool(tool.strict))


def _tool_choice(asked: Prompted, tools: tuple[Tool, ...]) -> ToolChoice:
    choice = asked.tool_choice
    if choice is None or choice.type == "auto":
        return "auto"
    if choice.type == "none":
        return "none"
    if not tools:
        raise refused("tool_choice", "may only be specified while providing tools that the client runs")
    return "required" if choice.type == "any" else _named(choice.name, tools)


def _named(name: str | None, tools: tuple[Tool, ...]) -> NamedTool:
    if name is None:
        raise refused("tool_choice.tool.name", "Field required")
    if all(tool.name != name for tool in tools):
        raise refused("tool_choice.name", f"Tool '{shown_name(name)}' not found in provided tools")
    return NamedTool(name)


def _form(asked: Prompted) -> AnswerForm:
    if asked.output_config and asked.output_config.format:
        return JsonSchema(json_text(asked.output_config.format.schema_), "output_config.format.schema")
    if asked.output_format:
        return JsonSchema(json_text(asked.output_format.schema_), "output_format.schema")
    return PlainText()


def _ignored(asked: MessagesRequest) -> Iterator[str]:
    """Names of what has no effect, down to the fields of blocks."""
    yield from _unknown("", asked)
    if asked.thinking:
        yield from _unknown("thinking.", asked.thinking)
    if asked.output_config:
        yield from _unknown("output_config.", asked.output_config)
    for tool in asked.tools or ():
        if isinstance(tool, ClientTool):
            yield from _unknown("tools.", tool)
        else:
            yield f"tools.{shown_name(tool.type)}"
    for block in asked.system if isinstance(asked.system, list) else ():
        yield from _unknown("system.", block)
    for turn in asked.messages:
        yield from _unknown("messages.", turn)
        for block in turn.content if isinstance(turn.content, list) else ():
            yield from _unknown("messages.content.", block)


def _unknown(prefix: str, shape: Shape) -> Iterator[str]:
    for name, value in shape.unknown.items():
        if value is not None:
            yield prefix + shown_name(name)
