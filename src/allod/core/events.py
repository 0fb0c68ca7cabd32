"""What a backend yields for one request, in order.

`Accepted`, then any number of `Progress`, deltas, calls and `ChoiceFinished`, then exactly one
`Finished` or `Failed`. Whatever can be a 4xx or a 503 is raised before `Accepted`; after it, the
error is the last event.

A call is `ToolCallStarted`, its arguments in `ToolCallDelta`s, then `ToolCallFinished`; a call that was
cut off or is malformed has no end, and the choice then does not finish with `tool_calls`. Calls of a
choice follow one another.
"""

from typing import Literal

import msgspec

from allod.core.errors import AllodError
from allod.core.prefixes import PrefixMatch
from allod.core.usage import Timings, Usage

FinishReason = Literal["stop", "length", "tool_calls"]


class TokenLogprob(msgspec.Struct, frozen=True):
    """One token with its natural-log probability under the model, before temperature and filters.

    `data` is the token's bytes: half a character is possible, so `text` may hold U+FFFD.
    """

    text: str
    data: bytes
    logprob: float


class ScoredToken(msgspec.Struct, frozen=True):
    """The chosen token and its most likely alternatives, most likely first."""

    chosen: TokenLogprob
    alternatives: tuple[TokenLogprob, ...]


class Accepted(msgspec.Struct, frozen=True):
    """The request was admitted or queued; status and headers may go out.

    Attributes:
        prompt_tokens: length of the prompt.
        prefix: what was to be reused of it when it arrived; None where that is not known, or nothing ever is.
    """

    prompt_tokens: int
    prefix: PrefixMatch | None = None


class Progress(msgspec.Struct, frozen=True):
    """So many tokens of the prompt have been processed."""

    prefilled_tokens: int
    prompt_tokens: int


class TextDelta(msgspec.Struct, frozen=True):
    """More text of one choice; never half a character. `scores` belongs to the tokens of this text."""

    choice: int
    text: str
    scores: tuple[ScoredToken, ...] = ()


class ReasoningDelta(msgspec.Struct, frozen=True):
    """More of what the model thinks before its answer."""

    choice: int
    text: str


class ToolCallStarted(msgspec.Struct, frozen=True):
    """The model calls a tool; `index` counts the calls of the choice from 0.

    Attributes:
        identifier: `call_` and random characters; unique for the life of the server.
    """

    choice: int
    index: int
    identifier: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    """More of the arguments: a piece of JSON text."""

    choice: int
    index: int
    arguments: str


class ToolCallFinished(msgspec.Struct, frozen=True):
    """The call is complete, and its arguments together are one JSON object."""

    choice: int
    index: int


class ChoiceFinished(msgspec.Struct, frozen=True):
    """One choice is complete; `stop` is the stop string that ended it, if one did."""

    choice: int
    reason: FinishReason
    stop: str | None = None


class Finished(msgspec.Struct, frozen=True):
    """Every choice is complete."""

    usage: Usage
    timings: Timings


class Failed(msgspec.Struct, frozen=True):
    """The request broke after it was accepted."""

    error: AllodError


ToolCallEvent = ToolCallStarted | ToolCallDelta | ToolCallFinished
Event = Accepted | Progress | TextDelta | ReasoningDelta | ToolCallEvent | ChoiceFinished | Finished | Failed
