"""Request bodies to generation requests. The last place that sees the dialect."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from pydantic import ValidationError

from allod.core.errors import refused
from allod.core.formats import AnswerForm, JsonSchema, PlainText, Regex
from allod.core.ids import ModelName, RequestId
from allod.core.pictures import Gallery, Picture, joined_pieces
from allod.core.request import (
    Conversation,
    GenerationRequest,
    Infill,
    Message,
    PromptSource,
    RawText,
    RawTokens,
    Role,
)
from allod.core.sampling import SamplingWishes
from allod.wire.body import parse_object
from allod.wire.dialect import Decoded, Envelope
from allod.wire.openai.chunks import ChatChunks, CompletionChunks
from allod.wire.openai.refusal import refusal
from allod.wire.openai.schema import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    Generation,
    ImageAddress,
    ImagePart,
    Part,
    RefusalPart,
    TextPart,
)
from allod.wire.openai.tools import answer_form, called, chosen, grammar_form, offered
from allod.wire.openai.whole import ChatWhole, CompletionWhole
from allod.wire.pictures import detail_of, hung, source_of
from allod.wire.refusal import shown_name
from allod.wire.shape import Shape, json_text

_OLD_TOOLS = "functions are the old name of tools; send tools and tool_choice instead"

_NEUTRAL_IN_CHAT: Mapping[str, tuple[tuple[object, ...], str]] = {
    "functions": (([],), _OLD_TOOLS),
    "function_call": (("none", "auto"), _OLD_TOOLS),
    "modalities": ((["text"],), 'answers are text; send ["text"] or leave the field out'),
    "audio": ((), "answers are text; leave the field out"),
}
"""Fields that would change the answer if they were obeyed: values that ask for nothing, and the refusal
of all others."""

_NEUTRAL_IN_MESSAGES: Mapping[str, tuple[tuple[object, ...], str]] = {
    "function_call": ((), "is the old name of tool_calls; send tool_calls instead"),
}

AnyShape = TypeVar("AnyShape", bound=Shape)


@dataclass(frozen=True, slots=True)
class _Limits:
    """What the two endpoints name differently."""

    max_tokens: int | None
    alternatives: int | None
    form: AnswerForm


def decode_chat(body: bytes, envelope: Envelope) -> Decoded:
    """A body of POST /v1/chat/completions.

    Raises:
        InvalidRequest: it is wrong, or asks for what this version cannot do; names the field.
    """
    chat = validated(ChatCompletionRequest, body)
    _refuse_unsupported(chat, _NEUTRAL_IN_CHAT)
    if chat.top_logprobs and not chat.logprobs:
        raise refused("top_logprobs", "needs log probabilities; send logprobs: true with it")
    limits = _Limits(
        max_tokens=chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens,
        alternatives=(chat.top_logprobs or 0) if chat.logprobs else None,
        form=_form(chat, answer_form(chat.response_format)),
    )
    request = replace(_request(chat, envelope, _conversation(chat), limits), reasoning=chat.reasoning_format)
    ignored = {*_ignored(chat, "", _NEUTRAL_IN_CHAT), *_ignored_in_messages(chat)}
    usage = _wants_usage(chat)
    return Decoded(
        requests=(request,),
        stream=bool(chat.stream),
        encoder=partial(ChatChunks, include_usage=usage),
        collector=ChatWhole,
        ignored=_sorted(chat, ignored),
    )


def decode_completion(body: bytes, envelope: Envelope) -> Decoded:
    """A body of POST /v1/completions.

    Raises:
        InvalidRequest: it is wrong, or asks for what this version cannot do; names the field.
    """
    asked = validated(CompletionRequest, body)
    refusal_of_best = "must equal n here, since every choice is returned; leave the field out"
    neutral = {"best_of": ((asked.n or 1,), refusal_of_best)}
    _refuse_unsupported(asked, neutral)
    if asked.echo and asked.logprobs is not None:
        raise refused("echo", "cannot be combined with logprobs: prompts are not scored; leave one out")
    limits = _Limits(asked.max_tokens, asked.logprobs, _form(asked, PlainText()))
    sources = _sources(asked)
    requests = tuple(
        replace(
            _request(asked, envelope, source, limits),
            request=_numbered(envelope.request, index),
            echo=bool(asked.echo),
        )
        for index, source in enumerate(sources)
    )
    return Decoded(
        requests=requests,
        stream=bool(asked.stream),
        encoder=partial(CompletionChunks, include_usage=_wants_usage(asked)),
        collector=CompletionWhole,
        ignored=_sorted(asked, set(_ignored(asked, "", neutral))),
    )


def validated(shape: type[AnyShape], body: bytes) -> AnyShape:
    """A body as its shape.

    Raises:
        InvalidRequest: it is not; names the field, the value's problem and the way out.
    """
    try:
        return shape.model_validate(parse_object(body))
    except ValidationError as error:
        raise refusal(error, shape) from error
    except RecursionError as error:
        raise refused("body", "is nested too deeply; send fewer levels of [ and {") from error


def model_of(name: str | None, envelope: Envelope) -> ModelName:
    """The model that is asked for.

    Raises:
        InvalidRequest: none is named, and there is more than one.
    """
    model = envelope.default_model() if name is None else ModelName(name)
    if model is None:
        raise refused("model", "is missing; send the name of a model, as GET /v1/models lists it")
    return model


def _numbered(request: RequestId, index: int) -> RequestId:
    return request if index == 0 else RequestId(f"{request}-{index}")


def _refuse_unsupported(
    shape: Shape, neutral: Mapping[str, tuple[tuple[object, ...], str]], prefix: str = ""
) -> None:
    for name, (accepted, sentence) in neutral.items():
        if (value := shape.unknown.get(name)) is not None and value not in accepted:
            raise refused(prefix + name, sentence)


def _conversation(chat: ChatCompletionRequest) -> Conversation:
    tools, choice = chosen(chat.tool_choice, offered(chat.tools or []))
    if chat.continue_final_message and chat.messages[-1].role != "assistant":
        raise refused("continue_final_message", "needs a last message of the assistant; send one, or false")
    budget = chat.reasoning_budget
    gallery = Gallery()
    messages = tuple(_message(index, turn, gallery) for index, turn in enumerate(chat.messages))
    arguments = dict(chat.chat_template_kwargs or {})
    if chat.reasoning_effort is not None:
        arguments.setdefault("reasoning_effort", chat.reasoning_effort)
    return Conversation(
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=chat.parallel_tool_calls is not False,
        thinking=None if chat.reasoning_effort is None else chat.reasoning_effort != "none",
        reasoning_tokens=None if budget == -1 else budget,
        template_arguments=json_text(arguments),
        continue_last=bool(chat.continue_final_message),
        pictures=tuple(gallery.pictures),
    )


def _message(index: int, turn: ChatMessage, gallery: Gallery) -> Message:
    here = f"messages[{index}]"
    _refuse_unsupported(turn, _NEUTRAL_IN_MESSAGES, f"{here}.")
    if turn.tool_calls and turn.role != "assistant":
        raise refused(
            f"{here}.tool_calls", f"stands in a {turn.role} message; only the assistant calls tools"
        )
    if turn.role == "tool" and not turn.tool_call_id:
        raise refused(f"{here}.tool_call_id", "is missing; send the id of the call that this answers")
    return Message(
        role=turn.role,
        content=_content(here, turn, gallery),
        name=turn.name,
        tool_calls=called(turn.tool_calls or [], f"{here}.tool_calls"),
        call_identifier=turn.tool_call_id if turn.role == "tool" else None,
        reasoning=(turn.reasoning_content or turn.reasoning) if turn.role == "assistant" else None,
    )


def _content(here: str, turn: ChatMessage, gallery: Gallery) -> str:
    match turn.content:
        case str(text):
            return text
        case list(parts):
            return joined_pieces(
                [
                    _piece(f"{here}.content[{place}]", part, turn.role, gallery)
                    for place, part in enumerate(parts)
                ]
            )
        case None if turn.role in ("assistant", "tool"):
            return ""
        case None:
            problem = "got null" if "content" in turn.model_fields_set else "is missing"
            raise refused(f"{here}.content", f"{problem}; send a string or a list of parts")


def _piece(here: str, part: Part, role: Role, gallery: Gallery) -> str:
    match part:
        case TextPart():
            return part.text
        case RefusalPart():
            return part.refusal
        case ImagePart():
            if role not in ("user", "tool"):
                raise refused(here, f"is an image in a {role} message; send it in a user or a tool message")
            return hung(gallery, _picture(f"{here}.image_url", part))


def _picture(field: str, part: ImagePart) -> Picture:
    address = part.image_url
    if isinstance(address, str):
        return Picture(source_of(address, field), field, detail_of(part.detail))
    field = f"{field}.url"
    return Picture(source_of(address.url, field), field, detail_of(address.detail, part.detail))


def _sources(asked: CompletionRequest) -> Sequence[PromptSource]:
    prompt = asked.prompt
    if isinstance(prompt, str):
        return [_source(prompt, asked.suffix)]
    tokens = tuple(item for item in prompt if isinstance(item, int))
    if tokens or not prompt:
        if asked.suffix is not None:
            raise refused("suffix", "needs a prompt of text; send the text before the gap as a string")
        return [RawTokens(tokens)]
    if asked.suffix is not None and len(prompt) > 1:
        raise refused("suffix", "goes with one prompt; send one, or leave the field out")
    return [
        _source(item, asked.suffix) if isinstance(item, str) else RawTokens(tuple(item))
        for item in prompt
        if not isinstance(item, int)
    ]


def _source(text: str, suffix: str | None) -> PromptSource:
    return RawText(text) if suffix is None else Infill(text, suffix)


def _form(asked: Generation, stated: AnswerForm) -> AnswerForm:
    forms: list[AnswerForm] = [] if isinstance(stated, PlainText) else [stated]
    if asked.guided_json is not None:
        forms.append(JsonSchema(json_text(asked.guided_json), "guided_json"))
    if asked.guided_regex is not None:
        forms.append(Regex(asked.guided_regex))
    if asked.guided_grammar is not None:
        forms.append(grammar_form(asked.guided_grammar, "guided_grammar"))
    if len(forms) > 1:
        raise refused(
            "response_format", "an answer has one form, and this asks for several; send one of them"
        )
    if forms and asked.ignore_eos:
        raise refused("ignore_eos", "cannot be combined with a form of the answer; leave one out")
    return forms[0] if forms else PlainText()


def _request(
    asked: Generation, envelope: Envelope, source: PromptSource, limits: _Limits
) -> GenerationRequest:
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    return GenerationRequest(
        request=envelope.request,
        model=model_of(asked.model, envelope),
        source=source,
        tenant=envelope.tenant,
        sampling=_wishes(asked, limits.alternatives),
        choices=asked.n or 1,
        max_tokens=None if limits.max_tokens == -1 else limits.max_tokens,
        stop=tuple(filter(None, stops)),
        ignore_end=bool(asked.ignore_eos),
        form=limits.form,
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


def _wants_usage(asked: Generation) -> bool:
    return bool(asked.stream_options and asked.stream_options.include_usage)


def _sorted(asked: Generation, ignored: set[str]) -> tuple[str, ...]:
    options = asked.stream_options
    if options is not None:
        ignored |= set(_ignored(options, "stream_options.", {}))
    return tuple(sorted(ignored))


def _ignored(shape: Shape, prefix: str, understood: Mapping[str, object]) -> Iterator[str]:
    for name, value in shape.unknown.items():
        if value is not None and name not in understood:
            yield prefix + shown_name(name)


def _ignored_in_messages(chat: ChatCompletionRequest) -> Iterator[str]:
    for turn in chat.messages:
        yield from _ignored(turn, "messages.", _NEUTRAL_IN_MESSAGES)
        for part in turn.content if isinstance(turn.content, list) else ():
            yield from _ignored(part, "messages.content.", {})
            if isinstance(part, ImagePart) and isinstance(part.image_url, ImageAddress):
                yield from _ignored(part.image_url, "messages.content.image_url.", {})
