"""Parts that whole and streamed answers share."""

from collections.abc import Iterable, Sequence

from allod.core.events import ScoredToken, TextDelta, TokenLogprob
from allod.core.usage import Usage
from allod.wire.dialect import Header

LEAST_LOGPROB = -9999.0
"""What OpenAI reports for a token that cannot occur: JSON has no minus infinity."""


def head(header: Header, prefix: str, kind: str) -> dict[str, object]:
    """The fields before `choices`; `kind` is the `object` of the answer."""
    return {
        "id": prefix + header.identifier,
        "object": kind,
        "created": header.created,
        "model": header.model,
    }


def usage_shape(usage: Usage) -> dict[str, object]:
    """Token counts."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def chat_logprobs(scores: Iterable[ScoredToken]) -> dict[str, object] | None:
    """Log probabilities of a chat choice; None when there are none."""
    content = [
        _token(score.chosen) | {"top_logprobs": [_token(other) for other in score.alternatives]}
        for score in scores
    ]
    return {"content": content, "refusal": None} if content else None


def completion_logprobs(deltas: Sequence[TextDelta], start: int) -> dict[str, object] | None:
    """Log probabilities of a completion choice; None when there are none.

    `text_offset` counts characters from the start of the answer and stays within its delta: tokens
    that hold parts of a character, or that a stop string cut off, have no width of their own.
    `start` is where the first delta starts.
    """
    scores = [score for delta in deltas for score in delta.scores]
    if not scores:
        return None
    return {
        "tokens": [score.chosen.text for score in scores],
        "token_logprobs": [_finite(score.chosen.logprob) for score in scores],
        "top_logprobs": [_by_text(score.alternatives) for score in scores],
        "text_offset": _offsets(deltas, start),
    }


def _offsets(deltas: Sequence[TextDelta], start: int) -> list[int]:
    offsets: list[int] = []
    for delta in deltas:
        width = 0
        for score in delta.scores:
            offsets.append(start + min(width, len(delta.text)))
            width += len(score.chosen.text)
        start += len(delta.text)
    return offsets


def _by_text(alternatives: Sequence[TokenLogprob]) -> dict[str, float]:
    """Of tokens that look alike, such as halves of different characters, the likeliest is kept."""
    logprobs: dict[str, float] = {}
    for token in alternatives:
        logprobs.setdefault(token.text, _finite(token.logprob))
    return logprobs


def _token(token: TokenLogprob) -> dict[str, object]:
    return {"token": token.text, "logprob": _finite(token.logprob), "bytes": list(token.data)}


def _finite(logprob: float) -> float:
    """Not minus infinity, and not NaN, which compares false."""
    return logprob if logprob > LEAST_LOGPROB else LEAST_LOGPROB
