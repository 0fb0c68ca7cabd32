"""What clients of the OpenAI dialect may send, as pydantic models: validation and description in one."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, StringConstraints, Tag
from pydantic.json_schema import models_json_schema

from allod.wire.openai.tools import AnswerFormat, CallShape, ToolChoiceShape, ToolShape
from allod.wire.pictures import ADDRESS_WANTED, DETAIL_WANTED, DetailShape
from allod.wire.shape import JsonObject, Shape, Text

MAX_TOKENS = 2**31 - 1
MAX_CHOICES = 32
MAX_PROMPTS = 128
MAX_STOPS = 16
MAX_TOOLS = 512
MAX_ALTERNATIVES = 20

_PARTS = {"refusal": "#refusal", "image_url": "#image", "input_image": "#image"}


def _not_zero(limit: int) -> int:
    if limit == 0:
        raise ValueError("zero")
    return limit


def _content_kind(value: object) -> str | None:
    return "#text" if isinstance(value, str) else "#parts" if isinstance(value, list) else None


def _stop_kind(value: object) -> str | None:
    return "#one" if isinstance(value, str) else "#many" if isinstance(value, list) else None


def prompt_kind(value: object) -> str | None:
    """The branch of a union of a text, token ids, and lists of either; None for what is none of them."""
    if isinstance(value, str):
        return "#text"
    if not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], str):
        return "#texts"
    return "#lists" if isinstance(value[0], list) else "#tokens"


def _part_kind(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- any object does
    return _PARTS.get(kind, "#part") if isinstance(kind, str) else "#part"


def _address_kind(value: object) -> str | None:
    return "#bare" if isinstance(value, str) else "#object" if isinstance(value, dict) else None


TokenId = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
TokenKey = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
Limit = Annotated[int, Field(ge=-1, le=MAX_TOKENS), AfterValidator(_not_zero)]


class TextPart(Shape):
    """A piece of a message's content; pieces are joined by a newline."""

    type: Literal["text"] = Field(
        description='parts of the form {"type": "text", "text": "..."} or '
        '{"type": "image_url", "image_url": {"url": "..."}}'
    )
    text: Text = Field(description="a string")


class RefusalPart(Shape):
    """What an assistant turn refused."""

    type: Literal["refusal"] = Field(description="refusal")
    refusal: Text = Field(description="a string")


class ImageAddress(Shape):
    """An image, and how closely to look at it."""

    url: Text = Field(description=ADDRESS_WANTED)
    detail: DetailShape | None = Field(default=None, description=DETAIL_WANTED)


class ImagePart(Shape):
    """An image in a user's or a tool's message; many clients send the address without an object around it."""

    type: Literal["image_url", "input_image"] = Field(description="image_url")
    image_url: Annotated[
        Annotated[ImageAddress, Tag("#object")] | Annotated[Text, Tag("#bare")], Discriminator(_address_kind)
    ] = Field(description='an object such as {"url": "data:image/png;base64,..."}')
    detail: DetailShape | None = Field(default=None, description=DETAIL_WANTED)


Part = Annotated[
    Annotated[TextPart, Tag("#part")]
    | Annotated[RefusalPart, Tag("#refusal")]
    | Annotated[ImagePart, Tag("#image")],
    Discriminator(_part_kind),
]
Content = Annotated[
    Annotated[Text, Tag("#text")] | Annotated[list[Part], Tag("#parts")], Discriminator(_content_kind)
]


class ChatMessage(Shape):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(
        description="one of system, developer, user, assistant, tool"
    )
    content: Content | None = Field(default=None, description="a string or a list of parts")
    name: Text | None = Field(default=None, description="a string")
    tool_calls: list[CallShape] | None = Field(
        default=None, description="a list of the calls that an answer had, as it had them"
    )
    tool_call_id: Text | None = Field(
        default=None, description="the id of the call that this is the result of"
    )
    reasoning_content: Text | None = Field(default=None, description="a string: what the answer thought")
    reasoning: Text | None = Field(default=None, description="a string: what the answer thought")


class StreamOptions(Shape):
    """How to stream."""

    include_usage: bool | None = Field(
        default=None, description="true for a last chunk with the token counts, or false"
    )


class Generation(Shape):
    """What both endpoints take."""

    model: Text | None = Field(default=None, description="the name of a model, as GET /v1/models lists it")
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
    logit_bias: dict[TokenKey, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None,
        description="an object whose keys are token ids, as strings, and whose values are from -100 to 100",
    )
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, description="an integer of 64 bits")
    stop: (
        Annotated[
            Annotated[Text, Tag("#one")] | Annotated[list[Text], Field(max_length=MAX_STOPS), Tag("#many")],
            Discriminator(_stop_kind),
        ]
        | None
    ) = Field(default=None, description=f"a string or a list of at most {MAX_STOPS} strings")
    n: int | None = Field(
        default=None, ge=1, le=MAX_CHOICES, description=f"an integer from 1 to {MAX_CHOICES}"
    )
    max_tokens: Limit | None = Field(
        default=None, description="an integer, 1 or more; -1 or null leaves it to the server"
    )
    stream: bool | None = Field(default=None, description="true or false")
    stream_options: StreamOptions | None = Field(
        default=None, description='an object such as {"include_usage": true}'
    )
    ignore_eos: bool | None = Field(
        default=None, description="true to generate past the model's end token, or false"
    )
    guided_json: JsonObject | None = Field(
        default=None, description="a JSON Schema that the answer must follow"
    )
    guided_regex: Text | None = Field(
        default=None, min_length=1, description="a regular expression that the whole answer must match"
    )
    guided_grammar: Text | None = Field(
        default=None,
        min_length=1,
        description="a grammar that the answer must follow: Lark, or GBNF (root ::=)",
    )


class ChatCompletionRequest(Generation):
    """Body of POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(
        min_length=1, description='a list of messages of the form {"role": "user", "content": "..."}'
    )
    max_completion_tokens: Limit | None = Field(
        default=None,
        description="an integer, 1 or more; -1 or null leaves it to the server; wins over max_tokens",
    )
    logprobs: bool | None = Field(default=None, description="true or false")
    top_logprobs: int | None = Field(
        default=None,
        ge=0,
        le=MAX_ALTERNATIVES,
        description=f"an integer from 0 to {MAX_ALTERNATIVES}, together with logprobs: true",
    )
    tools: list[ToolShape] | None = Field(
        default=None,
        max_length=MAX_TOOLS,
        description='a list of tools of the form {"type": "function", "function": {"name": "..."}}',
    )
    tool_choice: ToolChoiceShape | None = Field(
        default=None,
        description='"auto", "none", "required" or {"type": "function", "function": {"name": "..."}}',
    )
    parallel_tool_calls: bool | None = Field(default=None, description="true, or false for one call at most")
    response_format: AnswerFormat | None = Field(
        default=None,
        description='an object whose type is "text", "json_object", "json_schema", "regex" or "grammar"',
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        default=None, description="one of none, minimal, low, medium, high, xhigh, max"
    )
    reasoning_format: Literal["field", "inline", "none"] | None = Field(
        default=None, description="one of field (reasoning_content), inline, none"
    )
    reasoning_budget: int | None = Field(
        default=None,
        ge=-1,
        le=MAX_TOKENS,
        description="an integer: most tokens of reasoning; -1 for no limit",
    )
    chat_template_kwargs: JsonObject | None = Field(
        default=None, description="an object of variables for the model's chat template"
    )
    continue_final_message: bool | None = Field(
        default=None, description="true to go on from the last message, which is the assistant's, or false"
    )


class CompletionRequest(Generation):
    """Body of POST /v1/completions."""

    prompt: Annotated[
        Annotated[Text, Tag("#text")]
        | Annotated[list[Text], Field(max_length=MAX_PROMPTS), Tag("#texts")]
        | Annotated[list[TokenId], Tag("#tokens")]
        | Annotated[list[list[TokenId]], Field(max_length=MAX_PROMPTS), Tag("#lists")],
        Discriminator(prompt_kind),
    ] = Field(description=f"a string, a list of token ids, or a list of at most {MAX_PROMPTS} of either")
    logprobs: int | None = Field(
        default=None, ge=0, le=MAX_ALTERNATIVES, description=f"an integer from 0 to {MAX_ALTERNATIVES}"
    )
    suffix: Text | None = Field(
        default=None, description="a string: the text after the gap that a model for code fills"
    )
    echo: bool | None = Field(
        default=None, description="true for an answer that starts with the prompt, or false"
    )


def schemas_of(*shapes: type[BaseModel], prefix: str = "") -> dict[str, object]:
    """JSON schemas of bodies and their parts, by name, for `components.schemas` of OpenAPI.

    Args:
        shapes: the bodies.
        prefix: stands before every name, where two dialects have parts of one name.
    """
    _, schema = models_json_schema(
        [(shape, "validation") for shape in shapes],
        ref_template=f"#/components/schemas/{prefix}{{model}}",
    )
    return {f"{prefix}{name}": part for name, part in schema["$defs"].items()}
