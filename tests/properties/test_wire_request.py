"""Whatever a client sends, it gets a request or an InvalidRequest."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.core.errors import InvalidRequest
from allod.core.ids import ModelName, RequestId, TenantId
from allod.wire.dialect import Decoded, Envelope
from allod.wire.openai.errors import error_body
from allod.wire.openai.request import decode_chat, decode_completion
from allod.wire.openai.schema import ChatCompletionRequest, CompletionRequest

ENVELOPE = Envelope(RequestId("r"), TenantId("t"), lambda: ModelName("m"))
Decode = Callable[[bytes, Envelope], Decoded]
both = pytest.mark.parametrize("decode", [decode_chat, decode_completion])

strings = st.one_of(st.text(max_size=8), st.sampled_from(["user", "text", "\0", "\ud800", "type", "1"]))
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([2**63, 10**400, 1e308, -1, 0, 1]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, strings),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(strings, inner, max_size=3)),
    max_leaves=8,
)
known = {*ChatCompletionRequest.model_fields, *CompletionRequest.model_fields}
names = sorted((known | {"tools", "best_of", "echo"}) - {"messages", "prompt"})
addresses = strings | st.sampled_from(["data:;base64,AA", "data:;base64,A", "https://a/b.png"])
images = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["image_url", "input_image"]),
        "image_url": addresses
        | st.fixed_dictionaries({"url": addresses}, optional={"detail": values})
        | values,
    },
    optional={"detail": values},
)
parts = images | st.fixed_dictionaries({"type": st.just("text") | values, "text": strings | values})
messages = st.fixed_dictionaries(
    {"role": st.just("user") | values, "content": strings | st.lists(parts | values, max_size=2)},
    optional={"name": values, "tool_calls": values},
)
bodies = st.fixed_dictionaries(
    {"messages": st.lists(messages | values, max_size=3) | values, "prompt": strings | values},
    optional=dict.fromkeys(names, values),
)


def only_invalid_request(decode: Decode, body: bytes) -> None:
    try:
        decode(body, ENVELOPE)
    except InvalidRequest as refusal:
        json.loads(error_body(refusal))


@both
@given(body=bodies)
def test_any_object_is_decoded_or_refused(decode: Decode, body: dict[str, object]) -> None:
    """Nothing but InvalidRequest comes out, and it can be written as an error body."""
    only_invalid_request(decode, json.dumps(body).encode())


@both
@given(body=st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_decoded_or_refused(decode: Decode, body: bytes) -> None:
    """The same for what is no object, no JSON or no text."""
    only_invalid_request(decode, body)


@both
@given(field=st.sampled_from(names), value=values)
def test_a_fault_in_one_field_is_blamed_on_it(decode: Decode, field: str, value: object) -> None:
    """The param of a refusal is the field that is wrong, or lies inside it."""
    sound = {"messages": [{"role": "user", "content": "a"}], "prompt": "a"}
    try:
        decode(json.dumps(sound | {field: value}, allow_nan=True).encode(), ENVELOPE)
    except InvalidRequest as refusal:
        assert refusal.param is None or refusal.param.startswith(field)  # noqa: PT017 -- most values are sound
        assert (refusal.param is None) == ("NaN" in refusal.message or "Infinity" in refusal.message)  # noqa: PT017
