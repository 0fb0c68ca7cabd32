import json

import pytest

from allod.core.errors import InvalidRequest
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import Conversation, GenerationRequest, Message, RawText, RawTokens
from allod.core.sampling import SamplingWishes
from allod.wire.openai.request import Decoded, Envelope, decode_chat, decode_completion

ENVELOPE = Envelope(RequestId("r"), TenantId("local"), ModelName("default"))
USER = [{"role": "user", "content": "Hi"}]


def chat(**fields: object) -> Decoded:
    return decode_chat(json.dumps({"messages": USER} | fields).encode(), ENVELOPE)


def completion(**fields: object) -> Decoded:
    return decode_completion(json.dumps({"prompt": "Hi"} | fields).encode(), ENVELOPE)


def contents(*messages: object) -> list[str]:
    source = chat(messages=messages).request.source
    assert isinstance(source, Conversation)
    return [message.content for message in source.messages]


def test_the_least_chat_request() -> None:
    """What is not said stays unsaid: defaults belong to the checkpoint and the server."""
    assert chat() == Decoded(
        request=GenerationRequest(
            request=RequestId("r"),
            model=ModelName("default"),
            source=Conversation((Message("user", "Hi"),)),
            tenant=TenantId("local"),
        ),
        stream=False,
        include_usage=False,
        ignored=(),
    )


def test_every_field_arrives() -> None:
    """All that is understood, in one request."""
    decoded = chat(
        model="m", temperature=0, top_p=0.5, top_k=40, min_p=0.1, repetition_penalty=1.1, presence_penalty=-2,
        frequency_penalty=2, logit_bias={"7": -100, "0": 1.5}, seed=-(2**63), logprobs=True, top_logprobs=20,
        stop=["a", "", "b"], n=32, max_tokens=1, max_completion_tokens=5, stream=True,
        stream_options={"include_usage": True}, ignore_eos=True,
    )  # fmt: skip
    request = decoded.request
    assert request.sampling == SamplingWishes(
        temperature=0.0, top_p=0.5, top_k=40, min_p=0.1, repetition_penalty=1.1, presence_penalty=-2.0,
        frequency_penalty=2.0, logit_bias=((7, -100.0), (0, 1.5)), seed=-(2**63), top_logprobs=20,
    )  # fmt: skip
    assert (request.model, request.stop, request.choices, request.max_tokens) == ("m", ("a", "b"), 32, 5)
    assert (request.ignore_end, decoded.stream, decoded.include_usage) == (True, True, True)
    assert decoded.ignored == ()


def test_null_means_absent() -> None:
    """Clients that write every field they know send null for most of them."""
    fields = (
        "model temperature top_p top_k min_p repetition_penalty presence_penalty frequency_penalty "
        "logit_bias seed logprobs top_logprobs stop n max_tokens max_completion_tokens stream stream_options "
        "ignore_eos tools tool_choice functions function_call response_format user store"
    )
    assert chat(**dict.fromkeys(fields.split())) == chat()
    fields = "model logprobs best_of echo suffix n max_tokens stop user"
    assert completion(**dict.fromkeys(fields.split())) == completion()


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({"max_tokens": 3}, 3),
        ({"max_tokens": -1}, None),
        ({"max_completion_tokens": 3, "max_tokens": 9}, 3),
        ({"max_completion_tokens": None, "max_tokens": 9}, 9),
        ({"max_completion_tokens": -1}, None),
    ],
)
def test_length_limits(given: dict[str, object], limit: int | None) -> None:
    """max_completion_tokens wins; -1 and null leave it to the server."""
    assert chat(**given).request.max_tokens == limit


@pytest.mark.parametrize(("given", "stops"), [("a", ("a",)), ([], ()), (None, ()), (["", "b"], ("b",))])
def test_stop_strings(given: object, stops: tuple[str, ...]) -> None:
    """One, many, none; an empty one stops nothing."""
    assert chat(stop=given).request.stop == stops


def test_top_k_off_is_zero() -> None:
    """Some clients write -1 for off."""
    assert chat(top_k=-1).request.sampling.top_k == 0


def test_logprobs_without_alternatives() -> None:
    """`logprobs: true` alone asks for the chosen token only; zero alternatives need nothing."""
    assert chat(logprobs=True).request.sampling.top_logprobs == 0
    assert chat(logprobs=False, top_logprobs=0).request.sampling.top_logprobs is None
    assert completion(logprobs=0).request.sampling.top_logprobs == 0


def test_contents() -> None:
    """Parts are joined by newlines; an assistant may have said nothing."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert contents({"role": "user", "content": parts}) == ["a\nb"]
    assert contents(USER[0], {"role": "assistant", "content": None}, {"role": "assistant"}) == ["Hi", "", ""]
    assert contents({"role": "developer", "content": ""}, {"role": "system", "content": []}) == ["", ""]


@pytest.mark.parametrize(
    ("prompt", "source"),
    [
        ("Hi", RawText("Hi")),
        ("", RawText("")),
        (["Hi"], RawText("Hi")),
        ([1, 2], RawTokens((1, 2))),
    ],
)
def test_prompts(prompt: object, source: object) -> None:
    """A string, a list of one string, or token ids."""
    assert completion(prompt=prompt).request.source == source


def test_what_has_no_effect_is_listed() -> None:
    """Unknown fields are accepted and named, dotted and sorted, without positions and nulls."""
    part = {"type": "text", "text": "a", "cache_control": {}}
    messages = [
        {"role": "user", "content": [part, part], "weight": 1},
        {"role": "user", "content": "b", "x": None},
    ]
    decoded = chat(messages=messages, user="u", store=False, stream_options={"obfuscate": True})
    assert decoded.ignored == (
        "messages.content.cache_control", "messages.weight", "store", "stream_options.obfuscate", "user",
    )  # fmt: skip


def test_names_of_ignored_fields_fit_a_header() -> None:
    """They come from outside: printable ASCII, bounded, no list separator."""
    assert chat(**{"a\r\nSet-Cookie: é": 1, "x" * 999: 1, "a,b": 1}).ignored == (
        "a\\r\\nSet-Cookie: \\xe9", "a\\x2cb", "x" * 40,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": None},
        {"response_format": {"type": "text"}},
        {"messages": [USER[0], {"role": "assistant", "content": "a", "tool_calls": []}]},
    ],
)
def test_asking_for_nothing_is_no_request_for_tools(fields: dict[str, object]) -> None:
    """Neutral values are obeyed by doing nothing, so they are neither refused nor ignored."""
    assert chat(**fields).ignored == ()


REFUSED_IN_CHAT = [
    ({"temperature": "hot"}, "temperature", "temperature: got a string; send a number from 0 to 2"),
    ({"temperature": True}, "temperature", "got true; send a number"),
    ({"temperature": 2.1}, "temperature", "got 2.1; send a number from 0 to 2"),
    ({"top_p": 0}, "top_p", "above 0, at most 1"),
    ({"top_k": 1.5}, "top_k", "got 1.5; send an integer"),
    ({"min_p": -1}, "min_p", "from 0 to 1"),
    ({"repetition_penalty": 0}, "repetition_penalty", "above 0"),
    ({"presence_penalty": 3}, "presence_penalty", "from -2 to 2"),
    ({"frequency_penalty": []}, "frequency_penalty", "got a list of length 0"),
    ({"logit_bias": {"cat": 1}}, "logit_bias.cat", "keys are token ids"),
    ({"logit_bias": {"-1": 1}}, "logit_bias.-1", "keys are token ids"),
    ({"logit_bias": {"type": 1}}, "logit_bias.type", "keys are token ids"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1", "from -100 to 100"),
    ({"seed": 2**63}, "seed", "64 bits"),
    ({"seed": False}, "seed", "got false"),
    ({"logprobs": 1}, "logprobs", "send true or false"),
    ({"top_logprobs": 2}, "top_logprobs", "logprobs: true"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "from 0 to 20"),
    ({"stop": ["a"] * 17}, "stop", "at most 16"),
    ({"stop": ["a", 1]}, "stop[1]", "got 1"),
    ({"stop": "a\0"}, "stop", "NUL"),
    ({"n": 0}, "n", "from 1 to 32"),
    ({"n": 33}, "n", "from 1 to 32"),
    ({"max_tokens": 0}, "max_tokens", "1 or more"),
    ({"max_completion_tokens": -2}, "max_completion_tokens", "1 or more"),
    ({"max_tokens": 2**40}, "max_tokens", "integer"),
    ({"stream": "yes"}, "stream", "send true or false"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "got 1"),
    ({"ignore_eos": "no"}, "ignore_eos", "got a string"),
    ({"model": 1}, "model", "GET /v1/models"),
    ({"messages": None}, "messages", "got null"),
    ({"messages": []}, "messages", "got a list of length 0"),
    ({"messages": ["Hi"]}, "messages[0]", "got a string"),
    ({"messages": [{"content": "a"}]}, "messages[0].role", "is missing; send one of system, developer"),
    ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role", 'got "robot"'),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role", "tool messages"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "got null; send a string"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "is missing; send a string"),
    ({"messages": [*USER, {"role": "user", "content": 5}]}, "messages[1].content", "got 5; send a string"),
    ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content", "NUL"),
    ({"messages": [{"role": "user", "content": "a\ud800"}]}, "messages[0].content", "surrogate"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "\0"}]}]},
        "messages[0].content[0].text",
        "NUL",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]},
        "messages[0].content[1]",
        "got a part of type image_url; this server version takes text only",
    ),
    (
        {"messages": [*USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
        "messages[1].tool_calls",
        "tool calls are not in this version",
    ),
    ({"tools": [{"type": "function"}]}, "tools", "tool calls are not in this version"),
    ({"functions": [{}]}, "functions", "tool calls are not in this version"),
    ({"tool_choice": "required"}, "tool_choice", "tool calls are not in this version"),
    (
        {"response_format": {"type": "json_object"}},
        "response_format",
        "structured output is not in this version",
    ),
]


@pytest.mark.parametrize(("fields", "param", "says"), REFUSED_IN_CHAT, ids=lambda value: str(value)[:30])
def test_chat_refusals_name_the_field_and_the_way_out(
    fields: dict[str, object], param: str, says: str
) -> None:
    """Wrong types and values are a 400 on their field; so is what this version cannot do."""
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"prompt": ["a", "b"]}, "prompt", "one prompt per request"),
        ({"prompt": [[1], [2]]}, "prompt", "one prompt per request"),
        ({"prompt": []}, "prompt", "one prompt per request"),
        ({"prompt": None}, "prompt", "got null"),
        ({"prompt": {}}, "prompt", "got an object"),
        ({"prompt": [1, True]}, "prompt[1]", "got true"),
        ({"prompt": [1, -1]}, "prompt[1]", "got -1"),
        ({"prompt": "\0"}, "prompt", "NUL"),
        ({"prompt": ["\0"]}, "prompt[0]", "NUL"),
        ({"logprobs": 21}, "logprobs", "from 0 to 20"),
        ({"logprobs": True}, "logprobs", "got true"),
        ({"echo": True}, "echo", "not supported"),
        ({"suffix": "x"}, "suffix", "not supported"),
        ({"best_of": 2}, "best_of", "must equal n"),
        ({"best_of": 1, "n": 2}, "best_of", "must equal n"),
    ],
)
def test_completion_refusals(fields: dict[str, object], param: str, says: str) -> None:
    """As for chat."""
    with pytest.raises(InvalidRequest) as caught:
        completion(**fields)
    assert caught.value.param == param
    assert says in caught.value.message


def test_completions_accept_what_changes_nothing() -> None:
    """Echo false and best_of equal to n are the behaviour there is."""
    decoded = completion(echo=False, best_of=2, n=2)
    assert (decoded.ignored, decoded.request.choices) == ((), 2)


def test_a_request_needs_a_model_from_somewhere() -> None:
    """Without a default the body must name one."""
    nobody = Envelope(RequestId("r"), TenantId("t"), None)
    with pytest.raises(InvalidRequest, match="is missing") as caught:
        decode_chat(json.dumps({"messages": USER}).encode(), nobody)
    assert caught.value.param == "model"
    assert decode_chat(json.dumps({"messages": USER, "model": "m"}).encode(), nobody).request.model == "m"
