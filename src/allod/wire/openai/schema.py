"""What clients may send, as pydantic models: validation and OpenAPI description in one.

Types are strict: `"1"` is not a number and `true` is not 1. `null` means absent. The description of a
field says what to send, in words that complete the sentence "send ..."; refusals use it as it is.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag
from pydantic.json_schema import models_json_schema

MAX_TOKENS = 2**31 - 1
MAX_CHOICES = 32
MAX_STOPS = 16
MAX_ALTERNATIVES = 20


def flaw(text: str) -> str | None:
    """What makes a string unfit to be tokenised, in words; None for a sound one."""
    if "\0" in text:
        return "a NUL character (\\u0000)"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair (\\ud800 to \\udfff)"
    return None


def _sound(text: str) -> str:
    if found := flaw(text):
        raise ValueError(found)
    return text


def _not_zero(limit: int) -> int:
    if limit == 0:
        raise ValueError("zero")
    return limit


def _content_kind(value: object) -> str | None:
    return "#text" if isinstance(value, str) else "#parts" if isinstance(value, list) else None


def _stop_kind(value: object) -> str | None:
    return "#one" if isinstance(value, str) else "#many" if isinstance(value, list) else None


def _prompt_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "#text"
    if not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], str):
        return "#texts"
    return None if isinstance(value[0], list) else "#tokens"


Text = Annotated[str, AfterValidator(_sound)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
TokenKey = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
Limit = Annotated[int, Field(ge=-1, le=MAX_TOKENS), AfterValidator(_not_zero)]


class Shape(BaseModel):
    """Strict in types, open to unknown fields."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    @property
    def unknown(self) -> dict[str, object]:
        """The fields that the shape does not name."""
        return self.model_extra or {}


class TextPart(Shape):
    """A piece of a message's content; pieces are joined by a newline."""

    type: Literal["text"] = Field(description='parts of the form {"type": "text", "text": "..."}')
    text: Text = Field(description="a string")


Content = Annotated[
    Annotated[Text, Tag("#text")] | Annotated[list[TextPart], Tag("#parts")], Discriminator(_content_kind)
]


class ChatMessage(Shape):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(
        description="one of system, developer, user, assistant"
    )
    content: Content | None = Field(default=None, description="a string or a list of text parts")
    name: Text | None = Field(default=None, description="a string")


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


class CompletionRequest(Generation):
    """Body of POST /v1/completions."""

    prompt: Annotated[
        Annotated[Text, Tag("#text")]
        | Annotated[list[Text], Field(max_length=1), Tag("#texts")]
        | Annotated[list[TokenId], Tag("#tokens")],
        Discriminator(_prompt_kind),
    ] = Field(description="one string or one list of token ids (this version takes one prompt per request)")
    logprobs: int | None = Field(
        default=None, ge=0, le=MAX_ALTERNATIVES, description=f"an integer from 0 to {MAX_ALTERNATIVES}"
    )


def components() -> dict[str, object]:
    """JSON schemas of both bodies and their parts, by name, for `components.schemas` of OpenAPI."""
    _, schema = models_json_schema(
        [(ChatCompletionRequest, "validation"), (CompletionRequest, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    return dict(schema["$defs"])
