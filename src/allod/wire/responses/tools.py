"""Tools, choices and forms of the answer, as the Responses dialect writes them."""

from collections.abc import Iterator, Sequence

from allod.core.errors import refused
from allod.core.formats import AnswerForm, JsonObject, JsonSchema, PlainText
from allod.core.tools import NamedTool, Tool, ToolChoice
from allod.wire.refusal import shown_name
from allod.wire.responses.schema import (
    AllowedTools,
    Choice,
    ChosenTool,
    ForeignTool,
    FunctionTool,
    TextFormat,
    TextOptions,
    ToolItem,
)
from allod.wire.shape import json_text


def offered(tools: Sequence[ToolItem]) -> tuple[Tool, ...]:
    """The functions of a body; tools that another server would run are skipped.

    Raises:
        InvalidRequest: two have one name.
    """
    found: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        if isinstance(tool, ForeignTool):
            continue
        if tool.name in found:
            raise refused(f"tools[{index}].name", f"{tool.name} stands for two tools; give each its own name")
        parameters = "{}" if tool.parameters is None else json_text(tool.parameters)
        found[tool.name] = Tool(tool.name, tool.description or "", parameters, bool(tool.strict))
    return tuple(found.values())


def skipped(tools: Sequence[ToolItem]) -> Iterator[str]:
    """Names of the tools that are skipped."""
    for tool in tools:
        if isinstance(tool, ForeignTool):
            yield f"tools.{shown_name(tool.type)}"


def chosen(choice: Choice | None, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that are left, and what the model must do with them.

    Raises:
        InvalidRequest: the choice needs a function that is not offered.
    """
    match choice:
        case ChosenTool():
            return tools, NamedTool(_required(choice, tools, "tool_choice"))
        case AllowedTools():
            return _allowed(choice, tools)
        case "required" if not tools:
            raise refused("tool_choice", '"required" needs functions to call; send some in tools')
        case "none" | "required":
            return tools, choice
        case _:
            return tools, "auto"


def answer_form(options: TextOptions | None) -> AnswerForm:
    """What form the answer must have.

    Raises:
        InvalidRequest: the format lacks its schema.
    """
    match options.format if options else None:
        case TextFormat(type="json_object"):
            return JsonObject()
        case TextFormat(type="json_schema", schema_=None):
            raise refused("text.format.schema", "is missing; send a JSON Schema")
        case TextFormat(type="json_schema", schema_=schema):
            return JsonSchema(json_text(schema), "text.format.schema")
        case _:
            return PlainText()


def tool_shapes(tools: Sequence[ToolItem]) -> list[dict[str, object]]:
    """The functions, as a response tells which tools the model had."""
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": tool.strict,
        }
        for tool in tools
        if isinstance(tool, FunctionTool)
    ]


def _allowed(choice: AllowedTools, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    names = {
        _required(tool, tools, f"tool_choice.tools[{index}]")
        for index, tool in enumerate(choice.tools)
        if tool.type == "function"
    }
    left = tuple(tool for tool in tools if tool.name in names)
    mode = choice.mode or "auto"
    if mode == "required" and not left:
        raise refused("tool_choice.tools", 'mode "required" needs a function to call; name one')
    return left, mode if left else "auto"


def _required(wanted: ChosenTool, tools: tuple[Tool, ...], param: str) -> str:
    if wanted.type != "function":
        raise refused(
            f"{param}.type",
            f"got {shown_name(wanted.type)}, which this server does not run; send function and a name",
        )
    if wanted.name is None:
        raise refused(f"{param}.name", "is missing; send the name of a function in tools")
    if all(tool.name != wanted.name for tool in tools):
        raise refused(f"{param}.name", f"{shown_name(wanted.name)} is not among the tools; send it in tools")
    return wanted.name
