"""What clients may send, as pydantic models: validation and OpenAPI description in one.

Types are strict, unknown fields are let through, `null` means absent. Anthropic's API answers in
pydantic's own words, so these shapes need none of their own, except where a union has no good ones.
"""

from typing import Annotated, Literal, cast

from pydantic import Discriminator, Field, Tag

from allod.wire.openai.schema import MAX_TOKENS, MAX_TOOLS, schemas_of
from allod.wire.openai.tools import ToolName
from allod.wire.shape import JsonObject, Shape, Text

MAX_STOPS = 64
MAX_MESSAGES = 100_000


def _text_or_blocks(value: object) -> str | None:
    return "#text" if isinstance(value, str) else "#blocks" if isinstance(value, list) else None


def _by_type(*served: str, default: str | None = None) -> Discriminator:
    """Tells the types that are served by name, and takes all others for foreign ones."""

    def branch(value: object) -> str:
        kind = cast("dict[str, object]", value).get("type") if isinstance(value, dict) else None
        kind = default if kind is None else kind
        return f"#{kind}" if kind in served else "#foreign"

    return Discriminator(branch)


_TEXT_OR_BLOCKS = Discriminator(
    _text_or_blocks,
    custom_error_type="text_or_blocks",
    custom_error_message="Input should be a string or a list of content blocks",
)


class ForeignBlock(Shape):
    """A block, source or tool of a type that is not served here."""

    type: Text


class TextBlock(Shape):
    """A piece of text."""

    type: Literal["text"]
    text: Text


class EncodedSource(Shape):
    """An image's file as base64. What kind of image it is, its bytes say."""

    type: Literal["base64"]
    media_type: Text | None = None
    data: Text


class AddressSource(Shape):
    """An image's address."""

    type: Literal["url"]
    url: Text


class ImageBlock(Shape):
    """An image."""

    type: Literal["image"]
    source: Annotated[
        Annotated[EncodedSource, Tag("#base64")]
        | Annotated[AddressSource, Tag("#url")]
        | Annotated[ForeignBlock, Tag("#foreign")],
        _by_type("base64", "url"),
    ]


DocumentPart = Annotated[
    Annotated[TextBlock, Tag("#text")]
    | Annotated[ImageBlock, Tag("#image")]
    | Annotated[ForeignBlock, Tag("#foreign")],
    _by_type("text", "image"),
]


class ThinkingBlock(Shape):
    """What an assistant turn thought. The signature is not checked: the text is what counts here."""

    type: Literal["thinking"]
    thinking: Text
    signature: Text


class RedactedThinkingBlock(Shape):
    """Thinking that only its maker can read."""

    type: Literal["redacted_thinking"]
    data: Text


class ToolUseBlock(Shape):
    """A call that an assistant turn made."""

    type: Literal["tool_use"]
    id: Text
    name: Text
    input: JsonObject


class PlainTextSource(Shape):
    """A document as text."""

    type: Literal["text"]
    data: Text


class BlocksSource(Shape):
    """A document as content blocks."""

    type: Literal["content"]
    content: Annotated[
        Annotated[Text, Tag("#text")] | Annotated[list[DocumentPart], Tag("#blocks")], _TEXT_OR_BLOCKS
    ]


Source = Annotated[
    Annotated[PlainTextSource, Tag("#text")]
    | Annotated[BlocksSource, Tag("#content")]
    | Annotated[ForeignBlock, Tag("#foreign")],
    _by_type("text", "content"),
]


class DocumentBlock(Shape):
    """A document; its text and its images are served, whatever else it holds is not."""

    type: Literal["document"]
    source: Source
    title: Text | None = None
    context: Text | None = None


class SearchResultBlock(Shape):
    """A found text and where it was found."""

    type: Literal["search_result"]
    title: Text
    source: Text
    content: list[TextBlock]


ResultBlock = Annotated[
    Annotated[TextBlock, Tag("#text")]
    | Annotated[ImageBlock, Tag("#image")]
    | Annotated[DocumentBlock, Tag("#document")]
    | Annotated[SearchResultBlock, Tag("#search_result")]
    | Annotated[ForeignBlock, Tag("#foreign")],
    _by_type("text", "image", "document", "search_result"),
]


class ToolResultBlock(Shape):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: Text
    content: (
        Annotated[
            Annotated[Text, Tag("#text")] | Annotated[list[ResultBlock], Tag("#blocks")],
            _TEXT_OR_BLOCKS,
        ]
        | None
    ) = None
    is_error: bool | None = None


Block = Annotated[
    Annotated[TextBlock, Tag("#text")]
    | Annotated[ImageBlock, Tag("#image")]
    | Annotated[ThinkingBlock, Tag("#thinking")]
    | Annotated[RedactedThinkingBlock, Tag("#redacted_thinking")]
    | Annotated[ToolUseBlock, Tag("#tool_use")]
    | Annotated[ToolResultBlock, Tag("#tool_result")]
    | Annotated[DocumentBlock, Tag("#document")]
    | Annotated[SearchResultBlock, Tag("#search_result")]
    | Annotated[ForeignBlock, Tag("#foreign")],
    _by_type(
        "text",
        "image",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "document",
        "search_result",
    ),
]


class InputMessage(Shape):
    """One turn of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[
        Annotated[Text, Tag("#text")] | Annotated[list[Block], Tag("#blocks")], _TEXT_OR_BLOCKS
    ]


class ClientTool(Shape):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: Text | None = None
    input_schema: JsonObject
    strict: bool | None = None


Tool = Annotated[
    Annotated[ClientTool, Tag("#custom")] | Annotated[ForeignBlock, Tag("#foreign")],
    _by_type("custom", default="custom"),
]


class ToolChoiceShape(Shape):
    """Whether the answer may, must or must not call a tool."""

    type: Literal["auto", "any", "tool", "none"]
    name: Text | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Shape):
    """Whether to think before the answer, and how much."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)


class JsonFormat(Shape):
    """The answer is JSON that this schema accepts."""

    type: Literal["json_schema"]
    schema_: JsonObject = Field(alias="schema")


class OutputConfig(Shape):
    """What form the answer has."""

    format: JsonFormat | None = None


class Prompted(Shape):
    """What a request and the counting of its tokens have in common."""

    model: Text | None = Field(default=None, description="a name that GET /v1/models lists")
    messages: list[InputMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: (
        Annotated[Annotated[Text, Tag("#text")] | Annotated[list[TextBlock], Tag("#blocks")], _TEXT_OR_BLOCKS]
        | None
    ) = None
    tools: list[Tool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ToolChoiceShape | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None


class MessagesRequest(Prompted):
    """Body of POST /v1/messages."""

    max_tokens: int = Field(ge=1, le=MAX_TOKENS)
    stop_sequences: list[Text] | None = Field(default=None, max_length=MAX_STOPS)
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=MAX_TOKENS)
    stream: bool | None = None


class CountTokensRequest(Prompted):
    """Body of POST /v1/messages/count_tokens."""


def components() -> dict[str, object]:
    """JSON schemas of both bodies and their parts, by name, for `components.schemas` of OpenAPI."""
    return schemas_of(MessagesRequest, CountTokensRequest, prefix="Anthropic")
