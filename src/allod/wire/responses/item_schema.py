"""Items that clients of the Responses dialect may send: messages, calls and their results, reasoning."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from allod.wire.pictures import ADDRESS_WANTED, DETAIL_WANTED, DetailShape
from allod.wire.shape import Shape, Text

Status = Literal["in_progress", "completed", "incomplete"]

_PARTS = {
    "input_text": "#text",
    "output_text": "#text",
    "text": "#text",
    "refusal": "#refusal",
    "input_image": "#image",
}
_ITEMS = frozenset(
    {
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
        "item_reference",
        "compaction",
    }
)
PARTS_WANTED = (
    'parts of the form {"type": "input_text", "text": "..."} or {"type": "input_image", "image_url": "..."}'
)
_CONTENT_WANTED = f"a string or a list of {PARTS_WANTED}"


def kind_of(value: object) -> object:
    """What tells the branches of a union apart, in a body that is read and in a shape that is written."""
    if isinstance(value, dict):
        return value.get("type")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- any does
    return getattr(value, "type", None)


def _part_kind(value: object) -> str:
    kind = kind_of(value)
    return _PARTS.get(kind, "#foreign") if isinstance(kind, str) else "#foreign"


def content_kind(value: object) -> str | None:
    """Which branch of a union of a string and a list a value belongs to."""
    return "#string" if isinstance(value, str) else "#parts" if isinstance(value, list) else None


def _item_kind(value: object) -> str:
    kind = kind_of(value)
    if kind is None and (_has(value, "role") or _has(value, "id")):
        return "#message" if _has(value, "role") else "#item_reference"
    return f"#{kind}" if isinstance(kind, str) and kind in _ITEMS else "#foreign"


def _has(value: object, name: str) -> bool:
    return name in value if isinstance(value, dict) else hasattr(value, name)


class TextPart(Shape):
    """A piece of text; pieces are joined by a newline."""

    type: Literal["input_text", "output_text", "text"] = Field(description=PARTS_WANTED)
    text: Text = Field(description="a string")


class RefusalPart(Shape):
    """What an assistant turn refused."""

    type: Literal["refusal"] = Field(description="refusal")
    refusal: Text = Field(description="a string")


class ImagePart(Shape):
    """An image in a user's message, or in what a tool came to."""

    type: Literal["input_image"] = Field(description="input_image")
    image_url: Text | None = Field(default=None, description=ADDRESS_WANTED)
    file_id: Text | None = Field(default=None, description="null; images of files are sent in image_url")
    detail: DetailShape | None = Field(default=None, description=DETAIL_WANTED)


class ForeignPart(Shape):
    """A part of another type: a file, sound."""

    type: Text = Field(description=PARTS_WANTED)


Part = Annotated[
    Annotated[TextPart, Tag("#text")]
    | Annotated[RefusalPart, Tag("#refusal")]
    | Annotated[ImagePart, Tag("#image")]
    | Annotated[ForeignPart, Tag("#foreign")],
    Discriminator(_part_kind),
]
Content = Annotated[
    Annotated[Text, Tag("#string")] | Annotated[list[Part], Tag("#parts")], Discriminator(content_kind)
]


class MessageItem(Shape):
    """One turn of a conversation; answers of the assistant come back in the form they had."""

    type: Literal["message"] | None = Field(default=None, description="message")
    role: Literal["user", "assistant", "system", "developer"] = Field(
        description="one of user, assistant, system, developer"
    )
    content: Content = Field(description=_CONTENT_WANTED)


class FunctionCallItem(Shape):
    """A call that the assistant made."""

    type: Literal["function_call"] = Field(description="function_call")
    call_id: Text = Field(description="the call_id that the call had")
    name: Text = Field(description="a string")
    arguments: Text = Field(description="a string of JSON")
    status: Status | None = Field(default=None, description="in_progress, completed or incomplete")


class FunctionOutputItem(Shape):
    """What a call came to."""

    type: Literal["function_call_output"] = Field(description="function_call_output")
    call_id: Text = Field(description="the call_id of the call that this is the result of")
    output: Content = Field(description=_CONTENT_WANTED)


class CustomCallItem(Shape):
    """A call of a tool that takes free text."""

    type: Literal["custom_tool_call"] = Field(description="custom_tool_call")
    call_id: Text = Field(description="the call_id that the call had")
    name: Text = Field(description="a string")
    input: Text = Field(description="a string")


class CustomOutputItem(Shape):
    """What a call of a tool that takes free text came to."""

    type: Literal["custom_tool_call_output"] = Field(description="custom_tool_call_output")
    call_id: Text = Field(description="the call_id of the call that this is the result of")
    output: Content = Field(description=_CONTENT_WANTED)


class ReasoningPart(Shape):
    """A piece of reasoning, or of its summary."""

    type: Text = Field(description="reasoning_text or summary_text")
    text: Text = Field(description="a string")


class ReasoningItem(Shape):
    """What the assistant thought."""

    type: Literal["reasoning"] = Field(description="reasoning")
    summary: list[ReasoningPart] | None = Field(default=None, description="a list of summary_text parts")
    content: list[ReasoningPart] | None = Field(default=None, description="a list of reasoning_text parts")
    encrypted_content: Text | None = Field(default=None, description="a string, as the answer had it")


class ReferenceItem(Shape):
    """An item of a stored response, by its id."""

    type: Literal["item_reference"] | None = Field(default=None, description="item_reference")
    id: Text = Field(description="the id of an item of a stored response")


class CompactionItem(Shape):
    """What POST /v1/responses/compact made of a conversation."""

    type: Literal["compaction"] = Field(description="compaction")
    encrypted_content: Text = Field(description="a string, as POST /v1/responses/compact gave it")


class ForeignItem(Shape):
    """An item that only a hosted tool of another server makes; it is left out of the conversation."""

    type: Text = Field(description="the type of an item")


Item = Annotated[
    Annotated[MessageItem, Tag("#message")]
    | Annotated[FunctionCallItem, Tag("#function_call")]
    | Annotated[FunctionOutputItem, Tag("#function_call_output")]
    | Annotated[CustomCallItem, Tag("#custom_tool_call")]
    | Annotated[CustomOutputItem, Tag("#custom_tool_call_output")]
    | Annotated[ReasoningItem, Tag("#reasoning")]
    | Annotated[ReferenceItem, Tag("#item_reference")]
    | Annotated[CompactionItem, Tag("#compaction")]
    | Annotated[ForeignItem, Tag("#foreign")],
    Discriminator(_item_kind),
]
