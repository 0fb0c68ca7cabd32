"""What a backend yields for one request, in order.

`Accepted`, then any number of `Progress`, `TextDelta` and `ChoiceFinished`, then exactly one
`Finished` or `Failed`. Whatever can be a 4xx or a 503 is raised before `Accepted`; after it, the
error is the last event.
"""

from dataclasses import dataclass
from typing import Literal

from allod.core.errors import AllodError
from allod.core.usage import Timings, Usage

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its natural-log probability under the model, before temperature and filters.

    `data` is the token's bytes: half a character is possible, so `text` may hold U+FFFD.
    """

    text: str
    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """The chosen token and its most likely alternatives, most likely first."""

    chosen: TokenLogprob
    alternatives: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request was admitted or queued; status and headers may go out."""

    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Progress:
    """So many tokens of the prompt have been processed."""

    prefilled_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of one choice; never half a character. `scores` belongs to the tokens of this text."""

    choice: int
    text: str
    scores: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    """One choice is complete."""

    choice: int
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Finished:
    """Every choice is complete."""

    usage: Usage
    timings: Timings


@dataclass(frozen=True, slots=True)
class Failed:
    """The request broke after it was accepted."""

    error: AllodError


Event = Accepted | Progress | TextDelta | ChoiceFinished | Finished | Failed
