"""Bodies of POST /v1/responses to generation requests. The last place that sees the dialect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
from pydantic import TypeAdapter

from allod.core.errors import InvalidRequest, refused
from allod.core.request import Conversation, GenerationRequest
from allod.core.sampling import SamplingWishes
from allod.wire.dialect import Decoded, Envelope
from allod.wire.openai.request import model_of, validated
from allod.wire.responses.echo import LOGPROBS, echo_of, ignored_in
from allod.wire.responses.item_schema import Item, MessageItem, ReferenceItem
from allod.wire.responses.items import messages_of, unknown_item
from allod.wire.responses.schema import ResponseRequest
from allod.wire.responses.shapes import Echo, Json
from allod.wire.responses.store import input_shape
from allod.wire.responses.stream import ResponseStream
from allod.wire.responses.tools import answer_form, chosen, offered
from allod.wire.responses.whole import ResponseWhole
from allod.wire.shape import KEPT, Shape, json_text

_REFUSED: Mapping[str, str] = {
    "prompt": "prompt templates live on another server; send instructions and input instead",
    "conversation": "conversations are not kept here; send previous_response_id, or the items themselves",
}

_ITEMS: TypeAdapter[list[Item]] = TypeAdapter(list[Item])


@dataclass(frozen=True, slots=True)
class Understood:
    """A body that was read, and what must be fetched before it can be answered.

    Attributes:
        asked: the body.
        items: the items of its input, references among them.
        references: ids of items that stand in stored responses.
    """

    asked: ResponseRequest
    items: tuple[Item, ...]
    references: tuple[str, ...]

    @property
    def previous(self) -> str | None:
        """The response that this one continues."""
        return self.asked.previous_response_id

    @property
    def stored(self) -> bool:
        """Whether the response is kept; it is unless the body says no."""
        return self.asked.store is not False


@dataclass(frozen=True, slots=True)
class Known:
    """What was fetched for a body.

    Attributes:
        history: the items of the responses that it continues, oldest first.
        referenced: items of other responses, by their ids.
        sampling: what the model's checkpoint asks of sampling.
    """

    history: Sequence[Json] = ()
    referenced: Mapping[str, Json] | None = None
    sampling: SamplingWishes | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request, and what its response repeats of it."""

    decoded: Decoded
    echo: Echo


def understood(body: bytes) -> Understood:
    """Read a body.

    Raises:
        InvalidRequest: it is wrong, or asks for what this version cannot do; names the field.
    """
    asked = validated(ResponseRequest, body)
    require_sound(asked)
    if asked.background:
        raise refused("background", "responses are not made in the background here; send false")
    for name, sentence in _REFUSED.items():
        if asked.unknown.get(name) is not None:
            raise refused(name, sentence)
    items = input_items(asked.input)
    references = tuple(item.id for item in items if isinstance(item, ReferenceItem))
    return Understood(asked, items, references)


def decode_response(body: bytes, envelope: Envelope) -> Decoded:
    """A body that refers to nothing that is stored, such as a line of a batch.

    Raises:
        InvalidRequest: it is wrong, or refers to earlier responses; names the field.
    """
    read = understood(body)
    if read.previous is not None:
        raise refused(
            "previous_response_id", "stored responses are out of reach here; send the items themselves"
        )
    return prepared(read, envelope, Known()).decoded


def prepared(read: Understood, envelope: Envelope, known: Known) -> Prepared:
    """A body together with its history.

    Raises:
        InvalidRequest: an item cannot be understood, or a tool or the model is missing; names the field.
    """
    asked = read.asked
    model = model_of(asked.model, envelope)
    tools, choice = chosen(asked.tool_choice, offered(asked.tools or ()))
    items = resolved(read.items, known)
    messages, pictures = messages_of(asked.instructions, as_items(known.history), items)
    effort = asked.reasoning.effort if asked.reasoning else None
    arguments = dict(asked.chat_template_kwargs or {})
    if effort is not None:
        arguments.setdefault("reasoning_effort", effort)
    wishes = _wishes(asked)
    request = GenerationRequest(
        request=envelope.request,
        model=model,
        source=Conversation(
            messages=messages,
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=asked.parallel_tool_calls is not False,
            thinking=None if effort is None else effort != "none",
            template_arguments=json_text(arguments),
            pictures=pictures,
        ),
        tenant=envelope.tenant,
        sampling=wishes,
        max_tokens=None if asked.max_output_tokens == -1 else asked.max_output_tokens,
        form=answer_form(asked.text),
    )
    echo = echo_of(asked, wishes.over(known.sampling or SamplingWishes()))
    decoded = Decoded(
        requests=(request,),
        stream=bool(asked.stream),
        encoder=partial(ResponseStream, echo=echo),
        collector=partial(ResponseWhole, echo=echo),
        ignored=tuple(sorted(set(ignored_in(asked, items)))),
    )
    return Prepared(decoded, echo)


def stored_input(read: Understood, known: Known, identifier: str) -> list[Json]:
    """The items of the input as they are kept: references replaced by what they stand for."""
    shapes = [_dumped(item) for item in resolved(read.items, known)]
    return [input_shape(shape, identifier, index) for index, shape in enumerate(shapes)]


def input_items(given: str | Sequence[Item] | None) -> tuple[Item, ...]:
    """The items of an input; a string is what the user says."""
    if isinstance(given, str):
        return (MessageItem(type="message", role="user", content=given),)
    return tuple(given or ())


def resolved(items: Sequence[Item], known: Known) -> tuple[Item, ...]:
    """The items with references replaced; what the history holds already is not said again.

    Raises:
        InvalidRequest: a reference leads nowhere.
    """
    present = {item.get("id") for item in known.history}
    referenced = known.referenced or {}
    found: list[Item] = []
    for index, item in enumerate(items):
        if not isinstance(item, ReferenceItem):
            found.append(item)
        elif item.id in referenced:
            found.extend(as_items([referenced[item.id]]))
        elif item.id not in present:
            raise unknown_item(item.id, f"input[{index}].id")
    return tuple(found)


def as_items(shapes: Sequence[Json]) -> tuple[Item, ...]:
    """Items that were kept, read again."""
    return tuple(_ITEMS.validate_python(list(shapes), context=KEPT))


def require_sound(asked: Shape) -> None:
    """Refuse what JSON cannot say: parts of a body are repeated or kept as they came.

    Raises:
        InvalidRequest: a field, perhaps one that nobody knows, holds such a value.
    """
    try:
        msgspec.json.encode(asked.model_dump())
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(
            "the body holds half of a surrogate pair, or too many levels of [ and {; leave them out"
        ) from error


def _dumped(item: Item) -> Json:
    return item.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _wishes(asked: ResponseRequest) -> SamplingWishes:
    wanted = asked.top_logprobs or LOGPROBS in (asked.include or ())
    return SamplingWishes(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=None if asked.top_k is None else max(asked.top_k, 0),
        min_p=asked.min_p,
        repetition_penalty=asked.repetition_penalty,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        seed=asked.seed,
        top_logprobs=(asked.top_logprobs or 0) if wanted else None,
    )
