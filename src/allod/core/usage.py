"""What a request consumed, in tokens and seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted by id, never estimated.

    Attributes:
        prompt_tokens: tokens of the rendered prompt, special tokens included.
        completion_tokens: tokens generated over all choices, a stop token included.
        cached_tokens: prompt tokens whose KV state was reused.
        reasoning_tokens: those of the completion tokens that came to reasoning.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a request went, in seconds of wall clock; None where it did not get there."""

    queued_seconds: float | None
    first_token_seconds: float | None
    total_seconds: float
