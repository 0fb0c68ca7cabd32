"""Why a request is not answered: what its model's card tells, and what a worker says."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from allod.core.card import ModelCard
from allod.core.errors import (
    AllodError,
    Busy,
    ContextLengthExceeded,
    InternalFailure,
    InvalidRequest,
    MemoryExceeded,
    ModelUnavailable,
    Overflow,
    PictureTooLarge,
    refused,
)
from allod.core.ids import TokenId
from allod.core.messages import Refused
from allod.core.request import Conversation, GenerationRequest


def prompt_field(request: GenerationRequest) -> str:
    """The field of the request that holds the prompt."""
    return "messages" if isinstance(request.source, Conversation) else "prompt"


_TOO_MUCH: Mapping[str, type[ContextLengthExceeded | MemoryExceeded]] = {
    "context": ContextLengthExceeded,
    "memory": MemoryExceeded,
}


def check(request: GenerationRequest, tokens: tuple[int, ...], card: ModelCard) -> None:
    """Refuse what this model can never answer.

    Args:
        request: what was asked for.
        tokens: its rendered prompt.
        card: the model.

    Raises:
        InvalidRequest: no prompt, or a token id outside the vocabulary.
        ContextLengthExceeded: prompt and answer do not fit the model's context.
    """
    if not tokens:
        field = prompt_field(request)
        raise refused(field, "the prompt has no tokens; send at least one")
    _check_context(request, len(tokens), card.context_tokens)
    check_ids(prompt_field(request), tokens, card.vocabulary)
    check_ids("logit_bias", (token for token, _ in request.sampling.logit_bias or ()), card.vocabulary)


def fitted(request: GenerationRequest, prompt_tokens: int, card: ModelCard) -> GenerationRequest:
    """The request, with `max_tokens` lowered to what the context leaves where that is asked for."""
    left = max(card.context_tokens - prompt_tokens, 1)
    if not request.lower_max_tokens or request.max_tokens is None or request.max_tokens <= left:
        return request
    return replace(request, max_tokens=left)


def refusal(verdict: Refused, field: str) -> AllodError:
    """The error for a submission that a worker did not take; `field` is where its tokens came from."""
    words, wait_seconds = verdict.message, verdict.retry_after_seconds
    match verdict.reason:
        case "context" | "memory" as reason:
            return _TOO_MUCH[reason](words, param=field)
        case "picture":
            return PictureTooLarge(f"{field}: {words}", param=field)
        case "invalid":
            return InvalidRequest(words)
        case "queue_full":
            return Busy(words, retry_after_seconds=wait_seconds)
        case "draining":
            return ModelUnavailable(words, retry_after_seconds=wait_seconds)
        case unknown:
            return InternalFailure(f"The worker refused the request ({unknown}): {words}")


def _check_context(request: GenerationRequest, prompt_tokens: int, context_tokens: int) -> None:
    if prompt_tokens + (request.max_tokens or 1) <= context_tokens:
        return
    field = prompt_field(request)
    limit = f"This model's maximum context length is {context_tokens} tokens. However, "
    if request.max_tokens is None:
        asked = f"your {field} resulted in {prompt_tokens} tokens. Please reduce the length of the {field}."
    else:
        asked = (
            f"you requested {prompt_tokens + request.max_tokens} tokens ({prompt_tokens} in the {field}, "
            f"{request.max_tokens} in the completion). "
            f"Please reduce the length of the {field} or completion."
        )
    overflow = Overflow(prompt_tokens, request.max_tokens, context_tokens)
    raise ContextLengthExceeded(limit + asked, param=field, overflow=overflow)


def check_ids(field: str, tokens: Iterable[TokenId], vocabulary: int) -> None:
    """Refuse token ids that a model does not have.

    Raises:
        InvalidRequest: names the field and the first of them.
    """
    for token in tokens:
        if not 0 <= token < vocabulary:
            raise InvalidRequest(
                f"{field}: {token} is not a token id of this model; ids are 0 to {vocabulary - 1}",
                param=field,
            )
