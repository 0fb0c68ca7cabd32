"""Request bodies to generation requests. The last place that sees the dialect."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import Conversation, GenerationRequest, Message, PromptSource, RawText, RawTokens
from allod.core.sampling import SamplingWishes
from allod.wire.body import parse_object
from allod.wire.openai.refusal import refusal, refused, shown_name
from allod.wire.openai.schema import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    Generation,
    Shape,
)

_NO_TOOLS = "tool calls are not in this version of the server; leave the field out"
_NO_FORMATS = (
    'structured output is not in this version of the server; leave the field out or send {"type": "text"}'
)

_NEUTRAL_IN_CHAT: Mapping[str, tuple[tuple[object, ...], str]] = {
    "tools": (([],), _NO_TOOLS),
    "functions": (([],), _NO_TOOLS),
    "tool_choice": (("none", "auto"), _NO_TOOLS),
    "function_call": (("none", "auto"), _NO_TOOLS),
    "response_format": (({"type": "text"},), _NO_FORMATS),
}
"""Fields that would change the answer if they were obeyed: values that ask for nothing, and the refusal
of all others."""

_NEUTRAL_IN_MESSAGES: Mapping[str, tuple[tuple[object, ...], str]] = {
    "tool_calls": (([],), _NO_TOOLS),
    "function_call": ((), _NO_TOOLS),
}

_NEUTRAL_IN_COMPLETIONS: Mapping[str, tuple[tuple[object, ...], str]] = {
    "echo": ((False,), "echoing the prompt is not supported; send false or leave the field out"),
    "suffix": ((), "text after the insertion is not supported; leave the field out"),
}

AnyShape = TypeVar("AnyShape", bound=Shape)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a request has beside its body; `default_model` serves when the body names no model."""

    request: RequestId
    tenant: TenantId
    default_model: ModelName | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request, and what only the answer's form depends on.

    `ignored` names the fields that have no effect here, dotted and without positions, sorted; each is
    printable ASCII of bounded length.
    """

    request: GenerationRequest
    stream: bool
    include_usage: bool
    ignored: tuple[str, ...]


def decode_chat(body: bytes, envelope: Envelope) -> Decoded:
    """A body of POST /v1/chat/completions.

    Raises:
        InvalidRequest: it is wrong, or asks for what this version cannot do; names the field.
    """
    chat = _validated(ChatCompletionRequest, body)
    _refuse_unsupported(chat, _NEUTRAL_IN_CHAT)
    if chat.top_logprobs and not chat.logprobs:
        raise refused("top_logprobs", "needs log probabilities; send logprobs: true with it")
    limit = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
    source = Conversation(tuple(_message(index, turn) for index, turn in enumerate(chat.messages)))
    alternatives = (chat.top_logprobs or 0) if chat.logprobs else None
    ignored = {*_ignored(chat, "", _NEUTRAL_IN_CHAT), *_ignored_in_messages(chat)}
    return _decoded(chat, _request(chat, envelope, source, limit, alternatives), ignored)


def decode_completion(body: bytes, envelope: Envelope) -> Decoded:
    """A body of POST /v1/completions.

    Raises:
        InvalidRequest: it is wrong, or asks for what this version cannot do; names the field.
    """
    completion = _validated(CompletionRequest, body)
    refusal_of_best = "must equal n here, since every choice is returned; leave the field out"
    neutral = {**_NEUTRAL_IN_COMPLETIONS, "best_of": ((completion.n or 1,), refusal_of_best)}
    _refuse_unsupported(completion, neutral)
    source = _prompt(completion.prompt)
    request = _request(completion, envelope, source, completion.max_tokens, completion.logprobs)
    return _decoded(completion, request, set(_ignored(completion, "", neutral)))


def _validated(shape: type[AnyShape], body: bytes) -> AnyShape:
    try:
        return shape.model_validate(parse_object(body))
    except ValidationError as error:
        raise refusal(error, shape) from error


def _refuse_unsupported(
    shape: Shape, neutral: Mapping[str, tuple[tuple[object, ...], str]], prefix: str = ""
) -> None:
    for name, (accepted, sentence) in neutral.items():
        if (value := shape.unknown.get(name)) is not None and value not in accepted:
            raise refused(prefix + name, sentence)


def _message(index: int, turn: ChatMessage) -> Message:
    here = f"messages[{index}]"
    _refuse_unsupported(turn, _NEUTRAL_IN_MESSAGES, f"{here}.")
    if turn.role == "tool":
        raise refused(
            f"{here}.role", "tool calls, and so tool messages, are not in this version of the server"
        )
    return Message(turn.role, _content(here, turn), turn.name)


def _content(here: str, turn: ChatMessage) -> str:
    match turn.content:
        case str(text):
            return text
        case list(parts):
            return "\n".join(part.text for part in parts)
        case None if turn.role == "assistant":
            return ""
        case None:
            problem = "got null" if "content" in turn.model_fields_set else "is missing"
            raise refused(f"{here}.content", f"{problem}; send a string or a list of text parts")


def _prompt(prompt: str | list[str] | list[int]) -> PromptSource:
    if isinstance(prompt, str):
        return RawText(prompt)
    tokens = tuple(item for item in prompt if isinstance(item, int))
    texts = [item for item in prompt if isinstance(item, str)]
    return RawText(texts[0]) if texts else RawTokens(tokens)


def _request(
    asked: Generation, envelope: Envelope, source: PromptSource, limit: int | None, alternatives: int | None
) -> GenerationRequest:
    model = envelope.default_model if asked.model is None else ModelName(asked.model)
    if model is None:
        raise refused("model", "is missing; send the name of a model, as GET /v1/models lists it")
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    return GenerationRequest(
        request=envelope.request,
        model=model,
        source=source,
        tenant=envelope.tenant,
        sampling=_wishes(asked, alternatives),
        choices=asked.n or 1,
        max_tokens=None if limit == -1 else limit,
        stop=tuple(filter(None, stops)),
        ignore_end=bool(asked.ignore_eos),
    )


def _wishes(asked: Generation, alternatives: int | None) -> SamplingWishes:
    bias = asked.logit_bias
    return SamplingWishes(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=None if asked.top_k is None else max(asked.top_k, 0),
        min_p=asked.min_p,
        repetition_penalty=asked.repetition_penalty,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        logit_bias=None if bias is None else tuple({int(key): value for key, value in bias.items()}.items()),
        seed=asked.seed,
        top_logprobs=alternatives,
    )


def _decoded(asked: Generation, request: GenerationRequest, ignored: set[str]) -> Decoded:
    options = asked.stream_options
    if options is not None:
        ignored |= set(_ignored(options, "stream_options.", {}))
    return Decoded(
        request=request,
        stream=bool(asked.stream),
        include_usage=bool(options and options.include_usage),
        ignored=tuple(sorted(ignored)),
    )


def _ignored(shape: Shape, prefix: str, understood: Mapping[str, object]) -> Iterator[str]:
    for name, value in shape.unknown.items():
        if value is not None and name not in understood:
            yield prefix + shown_name(name)


def _ignored_in_messages(chat: ChatCompletionRequest) -> Iterator[str]:
    for turn in chat.messages:
        yield from _ignored(turn, "messages.", _NEUTRAL_IN_MESSAGES)
        for part in turn.content if isinstance(turn.content, list) else ():
            yield from _ignored(part, "messages.content.", {})
