"""Bodies that clients of the Responses dialect may send: validation and description in one."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from allod.wire.openai.schema import MAX_ALTERNATIVES, MAX_TOKENS, MAX_TOOLS, Limit, schemas_of
from allod.wire.openai.tools import ToolName
from allod.wire.responses.answers import ANSWERS
from allod.wire.responses.item_schema import Item, content_kind, kind_of
from allod.wire.shape import JsonObject, Shape, Text

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class FunctionTool(Shape):
    """A function that may be called."""

    type: Literal["function"] = Field(description="function")
    name: ToolName = Field(description="a name of 1 to 128 letters, digits and _ . : / -")
    description: Text | None = Field(default=None, description="a string")
    parameters: JsonObject | None = Field(default=None, description="a JSON Schema of the arguments")
    strict: bool | None = Field(default=None, description="true if the arguments must follow the schema")


class ForeignTool(Shape):
    """A tool that another server would run; it is skipped."""

    type: Text = Field(description='a tool of the form {"type": "function", "name": "..."}')


def _tool_kind(value: object) -> str:
    return "#function" if kind_of(value) == "function" else "#foreign"


ToolItem = Annotated[
    Annotated[FunctionTool, Tag("#function")] | Annotated[ForeignTool, Tag("#foreign")],
    Discriminator(_tool_kind),
]


class ChosenTool(Shape):
    """A tool, by its type and, for a function, its name."""

    type: Text = Field(description="function")
    name: Text | None = Field(default=None, description="the name of a function in tools")


class AllowedTools(Shape):
    """The tools that may be called, out of those that are offered."""

    type: Literal["allowed_tools"] = Field(description="allowed_tools")
    mode: Literal["auto", "required"] | None = Field(default=None, description="auto or required")
    tools: list[ChosenTool] = Field(description="a list of the tools that are allowed")


def _choice_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "#word"
    return "#allowed" if kind_of(value) == "allowed_tools" else "#tool"


Choice = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("#word")]
    | Annotated[AllowedTools, Tag("#allowed")]
    | Annotated[ChosenTool, Tag("#tool")],
    Discriminator(_choice_kind),
]


class TextFormat(Shape):
    """What form the answer's text must have."""

    type: Literal["text", "json_object", "json_schema"] = Field(
        description="one of text, json_object, json_schema"
    )
    name: Text | None = Field(default=None, description="a string")
    description: Text | None = Field(default=None, description="a string")
    schema_: JsonObject | None = Field(default=None, alias="schema", description="a JSON Schema")
    strict: bool | None = Field(default=None, description="true or false; it is enforced either way")


class TextOptions(Shape):
    """How the answer's text should be."""

    format: TextFormat | None = Field(
        default=None, description='an object whose type is "text", "json_object" or "json_schema"'
    )
    verbosity: Literal["low", "medium", "high"] | None = Field(
        default=None, description="one of low, medium, high"
    )


class ReasoningOptions(Shape):
    """How much to think."""

    effort: Effort | None = Field(
        default=None, description="one of none, minimal, low, medium, high, xhigh, max"
    )
    summary: Text | None = Field(default=None, description="auto, concise or detailed")


class StreamOptions(Shape):
    """How to stream."""

    include_obfuscation: bool | None = Field(default=None, description="true or false; it has no effect here")


_Input = Annotated[
    Annotated[Text, Tag("#string")] | Annotated[list[Item], Tag("#parts")], Discriminator(content_kind)
]
_INPUT = "a string or a list of items, such as messages"
_MODEL = "the name of a model, as GET /v1/models lists it"
_PREVIOUS = "the id of a stored response"


class CompactRequest(Shape):
    """Body of POST /v1/responses/compact."""

    model: Text | None = Field(default=None, description=_MODEL)
    input: _Input | None = Field(default=None, description=_INPUT)
    instructions: Text | None = Field(default=None, description="a string")
    previous_response_id: Text | None = Field(default=None, description=_PREVIOUS)


class ResponseRequest(Shape):
    """Body of POST /v1/responses."""

    model: Text | None = Field(default=None, description=_MODEL)
    input: _Input | None = Field(default=None, description=_INPUT)
    instructions: Text | None = Field(default=None, description="a string")
    previous_response_id: Text | None = Field(default=None, description=_PREVIOUS)
    tools: list[ToolItem] | None = Field(
        default=None,
        max_length=MAX_TOOLS,
        description='a list of tools of the form {"type": "function", "name": "..."}',
    )
    tool_choice: Choice | None = Field(
        default=None, description='"auto", "none", "required" or {"type": "function", "name": "..."}'
    )
    parallel_tool_calls: bool | None = Field(default=None, description="true, or false for one call at most")
    text: TextOptions | None = Field(
        default=None, description='an object such as {"format": {"type": "text"}}'
    )
    reasoning: ReasoningOptions | None = Field(
        default=None, description='an object such as {"effort": "low"}'
    )
    max_output_tokens: Limit | None = Field(
        default=None, description="an integer, 1 or more; -1 or null leaves it to the server"
    )
    temperature: float | None = Field(default=None, ge=0, le=2, description="a number from 0 to 2")
    top_p: float | None = Field(default=None, gt=0, le=1, description="a number above 0, at most 1")
    top_k: int | None = Field(
        default=None, ge=-1, le=MAX_TOKENS, description="an integer, 0 or more; 0 or -1 turns it off"
    )
    min_p: float | None = Field(default=None, ge=0, le=1, description="a number from 0 to 1")
    repetition_penalty: float | None = Field(
        default=None, gt=0, le=10, description="a number above 0, at most 10; 1 turns it off"
    )
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, description="a number from -2 to 2")
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, description="a number from -2 to 2")
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, description="an integer of 64 bits")
    top_logprobs: int | None = Field(
        default=None, ge=0, le=MAX_ALTERNATIVES, description=f"an integer from 0 to {MAX_ALTERNATIVES}"
    )
    include: list[Text] | None = Field(default=None, description="a list of strings")
    truncation: Literal["auto", "disabled"] | None = Field(default=None, description="auto or disabled")
    metadata: (
        Annotated[
            dict[Annotated[Text, StringConstraints(max_length=64)], Annotated[Text, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = Field(
        default=None,
        description="an object of at most 16 strings of at most 512 characters, keys of at most 64",
    )
    store: bool | None = Field(default=None, description="true or false")
    stream: bool | None = Field(default=None, description="true or false")
    stream_options: StreamOptions | None = Field(
        default=None, description='an object such as {"include_obfuscation": false}'
    )
    background: bool | None = Field(default=None, description="false")
    max_tool_calls: int | None = Field(default=None, description="an integer; it has no effect here")
    user: Text | None = Field(default=None, description="a string")
    service_tier: Text | None = Field(default=None, description="a string; it has no effect here")
    safety_identifier: Text | None = Field(default=None, description="a string; it has no effect here")
    prompt_cache_key: Text | None = Field(default=None, description="a string; it has no effect here")
    chat_template_kwargs: JsonObject | None = Field(
        default=None, description="an object of variables for the model's chat template"
    )


def components() -> dict[str, object]:
    """JSON schemas of bodies and answers, by name, for `components.schemas` of OpenAPI."""
    return {**schemas_of(ResponseRequest, CompactRequest, prefix="Responses"), **ANSWERS}
