"""A generation request as the house sees it, after the dialect is gone."""

from dataclasses import dataclass, field
from typing import Literal

from allod.core.formats import AnswerForm, PlainText
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.pictures import Picture
from allod.core.sampling import SamplingWishes
from allod.core.tools import Tool, ToolCall, ToolChoice

Role = Literal["system", "developer", "user", "assistant", "tool"]
Priority = Literal["interactive", "batch"]
ReasoningForm = Literal["field", "inline", "none"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        content: the text, a mark in it for each picture (see `pictures`); empty for null.
        name: the participant, or for a tool's result the tool, where the client said so.
        tool_calls: what an assistant turn called.
        call_identifier: for a tool's result, the call it answers.
        reasoning: what an assistant turn thought, sent back by the client.
    """

    role: Role
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    call_identifier: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that the model's chat template renders.

    Attributes:
        messages: the turns.
        tools: what the model may call.
        tool_choice: whether it may, must, or must not.
        parallel_tool_calls: False allows at most one call in an answer.
        thinking: True or False switches a model's reasoning, where its template can; None leaves it.
        reasoning_tokens: most tokens of reasoning; None for no limit of its own.
        template_arguments: JSON text of an object of further template variables (`chat_template_kwargs`).
        continue_last: the last message is an assistant turn that the answer goes on from.
        pictures: what the marks in the messages stand for.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    thinking: bool | None = None
    reasoning_tokens: int | None = None
    template_arguments: str = "{}"
    continue_last: bool = False
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class RawText:
    """Text that is tokenised as it is, without a template.

    Attributes:
        text: the text.
        special: add what the tokenizer adds by itself, such as a BOS token.
    """

    text: str
    special: bool = True


@dataclass(frozen=True, slots=True)
class RawTokens:
    """Token ids that are used as they are."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Infill:
    """Text before and after a gap that the model fills (fill in the middle)."""

    prefix: str
    suffix: str


PromptSource = Conversation | RawText | RawTokens | Infill


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to generate, for whom, within which limits.

    Attributes:
        request: id of this request.
        model: catalogue key asked for.
        source: what the prompt is made from.
        tenant: who asks.
        sampling: what the client asked of sampling.
        choices: how many answers (`n`).
        max_tokens: most tokens per choice; None leaves it to the server's default.
        stop: strings that end a choice and are not part of the answer.
        ignore_end: True keeps generating past the model's end token (benchmarks).
        form: what form the answer must have.
        reasoning: where a model's reasoning goes: a field of its own, inline in the text between the
            model's own marks, or nowhere; None leaves it to the model's alias, then to "field".
        priority: batch work runs only while no interactive work is there.
        lower_max_tokens: where prompt and `max_tokens` do not fit the context together, but the prompt
            does, the answer may be shorter; else that is refused.
        echo: the answer starts with the prompt's text.
    """

    request: RequestId
    model: ModelName
    source: PromptSource
    tenant: TenantId
    sampling: SamplingWishes = field(default_factory=SamplingWishes)
    choices: int = 1
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_end: bool = False
    form: AnswerForm = field(default_factory=PlainText)
    reasoning: ReasoningForm | None = None
    priority: Priority = "interactive"
    lower_max_tokens: bool = False
    echo: bool = False
