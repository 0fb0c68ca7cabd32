"""A generation request as the house sees it, after the dialect is gone."""

from dataclasses import dataclass, field
from typing import Literal

from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.sampling import SamplingWishes

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; content is plain text at this stage."""

    role: Role
    content: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that the model's chat template renders."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class RawText:
    """Text that is tokenised as it is, without a template."""

    text: str


@dataclass(frozen=True, slots=True)
class RawTokens:
    """Token ids that are used as they are."""

    tokens: tuple[int, ...]


PromptSource = Conversation | RawText | RawTokens


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
