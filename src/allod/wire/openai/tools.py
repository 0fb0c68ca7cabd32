"""Tools, calls and answer formats as OpenAI writes them."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from allod.core.errors import InvalidRequest, refused
from allod.core.formats import AnswerForm, Grammar, JsonSchema, PlainText, Regex
from allod.core.formats import JsonObject as AnyObject
from allod.core.tools import NamedTool, Tool, ToolCall, ToolChoice
from allod.wire.shape import JsonObject, Shape, Text, json_text

_GBNF_RULE = "::="

ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")]
_NAME = "a name of 1 to 128 letters, digits and _ . : / -"


def _arguments_kind(value: object) -> str | None:
    return "#text" if isinstance(value, str) else "#object" if isinstance(value, dict) else None


class FunctionShape(Shape):
    """A function that may be called."""

    name: ToolName = Field(description=_NAME)
    description: Text | None = Field(default=None, description="a string")
    parameters: JsonObject | None = Field(default=None, description="a JSON Schema of the arguments")
    strict: bool | None = Field(default=None, description="true if the arguments must follow the schema")


class ToolShape(Shape):
    """A tool that is offered."""

    type: Literal["function"] = Field(description="tools of type function; others are not run by this server")
    function: FunctionShape = Field(description='an object such as {"name": "...", "parameters": {...}}')


class CalledShape(Shape):
    """The function that was called."""

    name: Text = Field(description="a string")
    arguments: (
        Annotated[
            Annotated[Text, Tag("#text")] | Annotated[JsonObject, Tag("#object")],
            Discriminator(_arguments_kind),
        ]
        | None
    ) = Field(default=None, description="a string of JSON")


class CallShape(Shape):
    """A call in the history."""

    id: Text | None = Field(default=None, description="a string")
    type: Literal["function"] | None = Field(default=None, description="function")
    function: CalledShape = Field(description='an object such as {"name": "...", "arguments": "{}"}')


class NameShape(Shape):
    """A function by its name."""

    name: ToolName = Field(description=_NAME)


class NamedChoice(Shape):
    """The function that must be called."""

    type: Literal["function"] = Field(description="function")
    function: NameShape = Field(description='an object such as {"name": "..."}')


class AllowedTools(Shape):
    """Some of the tools."""

    mode: Literal["auto", "required"] = Field(description="auto or required")
    tools: list[NamedChoice] = Field(description="a list of the tools that are allowed")


class AllowedChoice(Shape):
    """The tools that may be called, out of those that are offered."""

    type: Literal["allowed_tools"] = Field(description="allowed_tools")
    allowed_tools: AllowedTools = Field(description='an object such as {"mode": "auto", "tools": [...]}')


def _choice_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "#word"
    if not isinstance(value, dict):
        return None
    return "#allowed" if "allowed_tools" in value else "#named"


ToolChoiceShape = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("#word")]
    | Annotated[NamedChoice, Tag("#named")]
    | Annotated[AllowedChoice, Tag("#allowed")],
    Discriminator(_choice_kind),
]


class SchemaShape(Shape):
    """A named JSON Schema."""

    name: Text | None = Field(default=None, description="a string")
    description: Text | None = Field(default=None, description="a string")
    schema_: JsonObject | None = Field(default=None, alias="schema", description="a JSON Schema")
    strict: bool | None = Field(default=None, description="true or false; it is enforced either way")


class AnswerFormat(Shape):
    """What form the answer must have."""

    type: Literal["text", "json_object", "json_schema", "regex", "grammar"] = Field(
        description="one of text, json_object, json_schema, regex, grammar"
    )
    json_schema: SchemaShape | None = Field(
        default=None, description='an object such as {"name": "...", "schema": {...}}'
    )
    pattern: Text | None = Field(default=None, min_length=1, description="a regular expression")
    grammar: Text | None = Field(
        default=None, min_length=1, description="a grammar: Lark, or GBNF (root ::=)"
    )


def offered(tools: list[ToolShape]) -> tuple[Tool, ...]:
    """The tools of a body.

    Raises:
        InvalidRequest: two have one name.
    """
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        name = tool.function.name
        if name in seen:
            raise InvalidRequest(
                f"tools[{index}].function.name: {name} stands for two tools; give each its own name",
                param=f"tools[{index}].function.name",
            )
        seen.add(name)
    return tuple(_tool(tool.function) for tool in tools)


def chosen(
    choice: str | NamedChoice | AllowedChoice | None, tools: tuple[Tool, ...]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that are left, and what the model must do with them.

    Raises:
        InvalidRequest: the choice needs a tool that is not offered.
    """
    match choice:
        case NamedChoice(function=function):
            _require(function.name, tools, "tool_choice.function.name")
            return tools, NamedTool(function.name)
        case AllowedChoice(allowed_tools=allowed):
            names = [tool.function.name for tool in allowed.tools]
            for index, name in enumerate(names):
                _require(name, tools, f"tool_choice.allowed_tools.tools[{index}].function.name")
            return tuple(tool for tool in tools if tool.name in names), allowed.mode
        case "required" if not tools:
            raise InvalidRequest(
                'tool_choice: "required" needs tools; send tools with it', param="tool_choice"
            )
        case "none" | "required":
            return tools, choice
        case _:
            return tools, "auto"


def called(calls: list[CallShape], here: str) -> tuple[ToolCall, ...]:
    """Calls of the history. A call without an id gets one from its place."""
    return tuple(
        ToolCall(call.id or f"{here}[{index}]", call.function.name, _arguments(call.function.arguments))
        for index, call in enumerate(calls)
    )


def answer_form(wanted: AnswerFormat | None) -> AnswerForm:
    """What form the answer must have.

    Raises:
        InvalidRequest: the format lacks what its type needs.
    """
    match wanted:
        case None | AnswerFormat(type="text"):
            return PlainText()
        case AnswerFormat(type="json_object"):
            return AnyObject()
        case AnswerFormat(type="json_schema", json_schema=SchemaShape(schema_=schema)) if schema is not None:
            return JsonSchema(json_text(schema))
        case AnswerFormat(type="regex", pattern=str(pattern)):
            return Regex(pattern, "response_format.pattern")
        case AnswerFormat(type="grammar", grammar=str(grammar)):
            return grammar_form(grammar, "response_format.grammar")
        case _:
            missing = {"json_schema": "json_schema.schema", "regex": "pattern"}.get(wanted.type, wanted.type)
            field = f"response_format.{missing}"
            raise refused(field, f"is missing; type {wanted.type} needs it")


def grammar_form(text: str, param: str) -> Grammar:
    """A grammar in whichever of the two syntaxes it is written."""
    return Grammar(text, "gbnf" if _GBNF_RULE in text else "lark", param)


def _tool(function: FunctionShape) -> Tool:
    parameters = "{}" if function.parameters is None else json_text(function.parameters)
    return Tool(function.name, function.description or "", parameters, bool(function.strict))


def _arguments(arguments: str | dict[str, object] | None) -> str:
    return arguments if isinstance(arguments, str) else json_text(arguments or {})


def _require(name: str, tools: tuple[Tool, ...], param: str) -> None:
    if all(tool.name != name for tool in tools):
        raise refused(param, f"{name} is not among the tools; send it in tools")


def shape_of_call(identifier: str, name: str, arguments: str) -> dict[str, object]:
    """A call in a whole answer."""
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}
