"""Whatever a client of Anthropic's API sends, it gets a request or an InvalidRequest."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from allod.core.errors import InvalidRequest
from allod.core.ids import ModelName, RequestId, TenantId
from allod.wire.anthropic.errors import error_body
from allod.wire.anthropic.request import decode_count, decode_messages
from allod.wire.anthropic.schema import MessagesRequest
from allod.wire.dialect import Envelope

ENVELOPE = Envelope(RequestId("r"), TenantId("t"), lambda: ModelName("m"))
TYPES = [
    "text",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "tool_result",
    "document",
    "search_result",
    "image",
    "tool_reference",
    "server_tool_use",
    "web_search_tool_result",
    "mcp_tool_use",
    "container_upload",
]

strings = st.text(max_size=8) | st.sampled_from(
    ["user", "text", "\0", "\ud800", "type", "toolu_1", " ", "\n"]
)
numbers = st.integers() | st.floats() | st.sampled_from([2**63, 10**400, 1e308, -1, 0, 1])
values = st.recursive(
    st.none() | st.booleans() | numbers | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(strings, values, max_size=3)
sources = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "content", "base64", "url", "file"]) | values},
    optional={
        "data": strings | values,
        "url": strings | st.just("data:,a"),
        "content": strings | st.lists(values, max_size=2),
    },
)


def blocks_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.sampled_from(TYPES) | values},
        optional={
            "text": strings | values,
            "thinking": strings,
            "signature": strings | values,
            "data": strings,
            "id": strings,
            "name": strings,
            "input": objects | values,
            "tool_use_id": strings,
            "title": strings,
            "source": sources | strings,
            "content": strings | st.lists(inner, max_size=3),
            "is_error": st.booleans() | values,
            "cache_control": values,
        },
    )


blocks = blocks_of(blocks_of(values))
turns = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]) | values,
        "content": strings | st.lists(blocks | values, max_size=4) | values,
    }
)
tools = st.fixed_dictionaries(
    {"name": strings | st.just("weather")},
    optional={"type": strings, "input_schema": objects | values, "description": strings, "strict": values},
)
choices = st.fixed_dictionaries(
    {"type": st.sampled_from(["auto", "any", "tool", "none"])}, optional={"name": strings}
)
optional = dict.fromkeys(MessagesRequest.model_fields, values) | {
    "system": strings | st.lists(blocks, max_size=2) | values,
    "tools": st.lists(tools, max_size=3) | values,
    "tool_choice": choices | values,
    "thinking": st.fixed_dictionaries(
        {"type": strings | st.just("enabled")}, optional={"budget_tokens": values}
    ),
    "stop_sequences": st.lists(strings, max_size=2) | values,
    "output_config": st.fixed_dictionaries({}, optional={"format": objects | values}) | values,
}
del optional["messages"], optional["max_tokens"]
bodies = st.fixed_dictionaries(
    {"messages": st.lists(turns | values, max_size=4) | values, "max_tokens": st.just(8) | values},
    optional=optional,
)


def only_invalid_request(body: bytes) -> None:
    for decode in (decode_messages, decode_count):
        try:
            decode(body, ENVELOPE)
        except InvalidRequest as refusal:
            json.loads(error_body(refusal, "r"))


@given(body=bodies)
def test_any_history_is_decoded_or_refused(body: dict[str, object]) -> None:
    """Nothing but InvalidRequest comes out, and it can be written as an error body."""
    only_invalid_request(json.dumps(body).encode())


@given(history=st.lists(turns, min_size=1, max_size=4))
def test_sound_envelopes_around_any_turns(history: list[object]) -> None:
    """The same where only the turns are wild."""
    only_invalid_request(json.dumps({"max_tokens": 8, "messages": history}).encode())


@given(body=st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    """The same for what is no object, no JSON or no text."""
    only_invalid_request(body)


@given(field=st.sampled_from(sorted(MessagesRequest.model_fields)), value=values)
def test_a_fault_in_one_field_is_blamed_on_it(field: str, value: object) -> None:
    """The param of a refusal is the field that is wrong, or lies inside it."""
    sound = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 8}
    try:
        decode_messages(json.dumps(sound | {field: value}).encode(), ENVELOPE)
    except InvalidRequest as refusal:
        assert refusal.param is None or refusal.param.startswith(field)  # noqa: PT017 -- most values are sound
        assert (refusal.param is None) == ("NaN" in refusal.message or "Infinity" in refusal.message)  # noqa: PT017
