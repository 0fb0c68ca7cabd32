"""What a response repeats of its request, and what of a request has no effect."""

from collections.abc import Iterator, Sequence

from allod.core.sampling import SamplingWishes
from allod.wire.refusal import shown_name
from allod.wire.responses.item_schema import Item
from allod.wire.responses.items import ignored_items
from allod.wire.responses.schema import ResponseRequest
from allod.wire.responses.shapes import Echo, Json
from allod.wire.responses.tools import skipped, tool_shapes
from allod.wire.shape import Shape

LOGPROBS = "message.output_text.logprobs"
"""The `include` that asks for log probabilities."""

_SEALED = "reasoning.encrypted_content"
_HONOURED = frozenset({LOGPROBS, _SEALED})
_FOR_OTHERS = ("max_tool_calls", "service_tier", "safety_identifier", "prompt_cache_key")


def echo_of(asked: ResponseRequest, used: SamplingWishes) -> Echo:
    """What the response repeats. `truncation` says what happens, which is never any."""
    sampling = used.resolve()
    effort = asked.reasoning.effort if asked.reasoning else None
    fields: Json = {
        "instructions": asked.instructions,
        "previous_response_id": asked.previous_response_id,
        "tools": tool_shapes(asked.tools or ()),
        "tool_choice": _repeated(asked.tool_choice) or "auto",
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "text": {"format": {"type": "text"}, **_given(asked.text)},
        "reasoning": {"effort": effort, "summary": None},
        "max_output_tokens": None if asked.max_output_tokens == -1 else asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "top_logprobs": asked.top_logprobs or 0,
        "truncation": "disabled",
        "store": asked.store is not False,
        "service_tier": "default",
        "metadata": asked.metadata or {},
        "user": asked.user,
        "safety_identifier": asked.safety_identifier,
        "prompt_cache_key": asked.prompt_cache_key,
    }
    return Echo(fields, seals_reasoning=_SEALED in (asked.include or ()))


def ignored_in(asked: ResponseRequest, items: Sequence[Item]) -> Iterator[str]:
    """Names of the fields, tools and items that have no effect here."""
    yield from _unknown(asked, "")
    yield from (name for name in _FOR_OTHERS if getattr(asked, name) is not None)
    yield from skipped(asked.tools or ())
    yield from ignored_items(items)
    yield from _ignored_options(asked)
    if asked.truncation == "auto":
        yield "truncation"
    for name in asked.include or ():
        if name not in _HONOURED:
            yield f"include.{shown_name(name)}"


def _ignored_options(asked: ResponseRequest) -> Iterator[str]:
    if asked.text:
        yield from _unknown(asked.text, "text.")
        if asked.text.verbosity:
            yield "text.verbosity"
    if asked.reasoning:
        yield from _unknown(asked.reasoning, "reasoning.")
        if asked.reasoning.summary:
            yield "reasoning.summary"
    if asked.stream_options:
        yield from _unknown(asked.stream_options, "stream_options.")


def _repeated(value: object) -> object:
    return _given(value) if isinstance(value, Shape) else value


def _given(shape: Shape | None) -> Json:
    """The fields that were sent and not null."""
    return {} if shape is None else shape.model_dump(mode="json", by_alias=True, exclude_none=True)


def _unknown(shape: Shape, prefix: str) -> Iterator[str]:
    for name, value in shape.unknown.items():
        if value is not None:
            yield prefix + shown_name(name)
