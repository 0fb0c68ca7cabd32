import json

import pytest

from allod.core.errors import InvalidRequest
from allod.core.formats import AnswerForm, Grammar, JsonObject, JsonSchema, PlainText, Regex
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import Conversation, GenerationRequest, Infill, Message, RawText, RawTokens
from allod.core.sampling import SamplingWishes
from allod.core.tools import NamedTool, Tool, ToolCall
from allod.wire.dialect import Decoded, Envelope
from allod.wire.openai.request import decode_chat, decode_completion

ENVELOPE = Envelope(RequestId("r"), TenantId("local"), lambda: ModelName("default"))
USER = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"key": {"type": "string"}}}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "description": "d", "parameters": SCHEMA}}
LOOKED_UP = Tool("look_up", "d", '{"type":"object","properties":{"key":{"type":"string"}}}')


def chat(**fields: object) -> Decoded:
    return decode_chat(json.dumps({"messages": USER} | fields).encode(), ENVELOPE)


def completion(**fields: object) -> Decoded:
    return decode_completion(json.dumps({"prompt": "Hi"} | fields).encode(), ENVELOPE)


def request_of(decoded: Decoded) -> GenerationRequest:
    (request,) = decoded.requests
    return request


def conversation_of(decoded: Decoded) -> Conversation:
    source = request_of(decoded).source
    assert isinstance(source, Conversation)
    return source


def contents(*messages: object) -> list[str]:
    return [message.content for message in conversation_of(chat(messages=messages)).messages]


def test_the_least_chat_request() -> None:
    """What is not said stays unsaid: defaults belong to the checkpoint and the server."""
    decoded = chat()
    assert decoded.requests == (
        GenerationRequest(
            request=RequestId("r"),
            model=ModelName("default"),
            source=Conversation((Message("user", "Hi"),)),
            tenant=TenantId("local"),
        ),
    )
    assert (decoded.stream, decoded.ignored) == (False, ())


def test_every_field_arrives() -> None:
    """All that is understood, in one request."""
    decoded = chat(
        model="m", temperature=0, top_p=0.5, top_k=40, min_p=0.1, repetition_penalty=1.1, presence_penalty=-2,
        frequency_penalty=2, logit_bias={"7": -100, "0": 1.5}, seed=-(2**63), logprobs=True, top_logprobs=20,
        stop=["a", "", "b"], n=32, max_tokens=1, max_completion_tokens=5, stream=True,
        stream_options={"include_usage": True}, ignore_eos=True,
    )  # fmt: skip
    request = request_of(decoded)
    assert request.sampling == SamplingWishes(
        temperature=0.0, top_p=0.5, top_k=40, min_p=0.1, repetition_penalty=1.1, presence_penalty=-2.0,
        frequency_penalty=2.0, logit_bias=((7, -100.0), (0, 1.5)), seed=-(2**63), top_logprobs=20,
    )  # fmt: skip
    assert (request.model, request.stop, request.choices, request.max_tokens) == ("m", ("a", "b"), 32, 5)
    assert (request.ignore_end, decoded.stream) == (True, True)
    assert decoded.ignored == ()


def test_null_means_absent() -> None:
    """Clients that write every field they know send null for most of them."""
    fields = (
        "model temperature top_p top_k min_p repetition_penalty presence_penalty frequency_penalty "
        "logit_bias seed logprobs top_logprobs stop n max_tokens max_completion_tokens stream stream_options "
        "ignore_eos tools tool_choice functions function_call response_format user store parallel_tool_calls "
        "reasoning_effort reasoning_format reasoning_budget chat_template_kwargs continue_final_message "
        "guided_json guided_regex guided_grammar"
    )
    assert chat(**dict.fromkeys(fields.split())).requests == chat().requests
    fields = "model logprobs best_of echo suffix n max_tokens stop user"
    assert completion(**dict.fromkeys(fields.split())).requests == completion().requests


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
    assert request_of(chat(**given)).max_tokens == limit


@pytest.mark.parametrize(("given", "stops"), [("a", ("a",)), ([], ()), (None, ()), (["", "b"], ("b",))])
def test_stop_strings(given: object, stops: tuple[str, ...]) -> None:
    """One, many, none; an empty one stops nothing."""
    assert request_of(chat(stop=given)).stop == stops


def test_top_k_off_is_zero() -> None:
    """Some clients write -1 for off."""
    assert request_of(chat(top_k=-1)).sampling.top_k == 0


def test_logprobs_without_alternatives() -> None:
    """`logprobs: true` alone asks for the chosen token only; zero alternatives need nothing."""
    assert request_of(chat(logprobs=True)).sampling.top_logprobs == 0
    assert request_of(chat(logprobs=False, top_logprobs=0)).sampling.top_logprobs is None
    assert request_of(completion(logprobs=0)).sampling.top_logprobs == 0


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
    assert request_of(completion(prompt=prompt)).source == source


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


def test_tools_and_history() -> None:
    """Tools, calls, results and thoughts of earlier turns arrive as they were."""
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"key":"a"}'}}
    messages = [
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "found"}]},
    ]
    conversation = conversation_of(chat(messages=messages, tools=[LOOK_UP], parallel_tool_calls=False))
    assert conversation.tools == (LOOKED_UP,)
    assert conversation.messages[1:] == (
        Message("assistant", "", tool_calls=(ToolCall("call_1", "look_up", '{"key":"a"}'),), reasoning="hm"),
        Message("tool", "found", call_identifier="call_1"),
    )
    assert (conversation.tool_choice, conversation.parallel_tool_calls) == ("auto", False)


@pytest.mark.parametrize(
    ("arguments", "text"), [("", ""), ("{", "{"), ({"a": 1}, '{"a":1}'), (None, "{}"), ("[1]", "[1]")]
)
def test_arguments_of_the_history_are_kept_whatever_they_are(arguments: object, text: str) -> None:
    """Clients send back broken JSON, objects and nothing; templates deal with it, not the decoder."""
    call = {"function": {"name": "f", "arguments": arguments}}
    messages = [*USER, {"role": "assistant", "tool_calls": [call]}]
    (made,) = conversation_of(chat(messages=messages)).messages[1].tool_calls
    assert (made.name, made.arguments) == ("f", text)
    assert made.identifier


@pytest.mark.parametrize(
    ("choice", "becomes"),
    [
        (None, "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "look_up"}}, NamedTool("look_up")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "look_up"}}],
                },
            },
            "required",
        ),
    ],
)
def test_tool_choices(choice: object, becomes: object) -> None:
    """A word, a name, or some of the tools."""
    conversation = conversation_of(chat(tools=[LOOK_UP], tool_choice=choice))
    assert (conversation.tool_choice, conversation.tools) == (becomes, (LOOKED_UP,))


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({}, PlainText()),
        ({"response_format": {"type": "text"}}, PlainText()),
        ({"response_format": {"type": "json_object"}}, JsonObject()),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": []}}}},
            JsonSchema('{"a":[]}'),
        ),
        ({"response_format": {"type": "regex", "pattern": "a+"}}, Regex("a+", "response_format.pattern")),
        ({"guided_json": {}}, JsonSchema("{}", "guided_json")),
        ({"guided_regex": "a"}, Regex("a")),
        ({"guided_grammar": 'root ::= "a"'}, Grammar('root ::= "a"', "gbnf")),
        ({"guided_grammar": 'start: "a"'}, Grammar('start: "a"')),
    ],
)
def test_forms_of_the_answer(fields: dict[str, object], form: AnswerForm) -> None:
    """OpenAI's formats, and the extensions that other servers made usual."""
    assert request_of(chat(**fields)).form == form


def test_reasoning() -> None:
    """Effort none switches it off, a budget limits it, a format says where it goes."""
    decoded = chat(
        reasoning_effort="none", reasoning_budget=9, reasoning_format="inline", chat_template_kwargs={"x": 1}
    )
    conversation = conversation_of(decoded)
    assert (conversation.thinking, conversation.reasoning_tokens) == (False, 9)
    assert conversation.template_arguments == '{"x":1,"reasoning_effort":"none"}'
    assert request_of(decoded).reasoning == "inline"
    assert conversation_of(chat(reasoning_budget=-1)).reasoning_tokens is None
    assert conversation_of(chat(reasoning_effort="low")).thinking is True


@pytest.mark.parametrize(
    ("prompt", "sources"),
    [
        (["a", "b"], (RawText("a"), RawText("b"))),
        ([[1], [2, 3]], (RawTokens((1,)), RawTokens((2, 3)))),
    ],
)
def test_several_prompts_are_several_requests(prompt: object, sources: object) -> None:
    """Each with an id of its own."""
    requests = completion(prompt=prompt, n=2, echo=True).requests
    assert tuple(request.source for request in requests) == sources
    assert [request.request for request in requests] == ["r", "r-1"]
    assert [(request.choices, request.echo) for request in requests] == [(2, True)] * 2


def test_a_suffix_makes_a_gap() -> None:
    """Text before and after it."""
    assert request_of(completion(prompt="a", suffix="b")).source == Infill("a", "b")


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
    (
        {"messages": [{"role": "tool", "content": "a"}]},
        "messages[0].tool_call_id",
        "is missing; send the id of the call",
    ),
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
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}]},
        "messages[0].content[1]",
        "got a part of type input_audio, not served here; send parts of the form "
        '{"type": "text", "text": "..."} or {"type": "image_url", "image_url": {"url": "..."}}',
    ),
    (
        {"messages": [*USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
        "messages[1].tool_calls[0].function",
        'is missing; send an object such as {"name"',
    ),
    (
        {"messages": [{"role": "user", "content": "a", "tool_calls": [{"function": {"name": "f"}}]}]},
        "messages[0].tool_calls",
        "only the assistant calls tools",
    ),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "is missing; send an object"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "tools of type function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "letters"),
    ({"tools": [LOOK_UP, LOOK_UP]}, "tools[1].function.name", "stands for two tools"),
    ({"functions": [{}]}, "functions", "send tools"),
    ({"tool_choice": "required"}, "tool_choice", "send tools with it"),
    ({"tool_choice": "perhaps", "tools": [LOOK_UP]}, "tool_choice", '"auto", "none", "required" or'),
    (
        {"tool_choice": {"type": "function", "function": {"name": "x"}}, "tools": [LOOK_UP]},
        "tool_choice.function.name",
        "x is not among the tools",
    ),
    ({"response_format": {"type": "xml"}}, "response_format.type", "one of text, json_object"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", "is missing"),
    ({"response_format": {"type": "regex"}}, "response_format.pattern", "is missing"),
    ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "response_format", "one form"),
    ({"response_format": {"type": "json_object"}, "ignore_eos": True}, "ignore_eos", "leave one out"),
    ({"chat_template_kwargs": {"a": "\ud800"}}, "chat_template_kwargs", "an object of variables"),
    ({"continue_final_message": True}, "continue_final_message", "last message of the assistant"),
    ({"reasoning_effort": "some"}, "reasoning_effort", "one of none, minimal"),
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
        ({"prompt": ["a"] * 129}, "prompt", "a list of at most 128"),
        ({"prompt": []}, "prompt", "a list of at most 128"),
        ({"prompt": None}, "prompt", "got null"),
        ({"prompt": {}}, "prompt", "got an object"),
        ({"prompt": [1, True]}, "prompt[1]", "got true"),
        ({"prompt": [1, -1]}, "prompt[1]", "got -1"),
        ({"prompt": "\0"}, "prompt", "NUL"),
        ({"prompt": ["\0"]}, "prompt[0]", "NUL"),
        ({"logprobs": 21}, "logprobs", "from 0 to 20"),
        ({"logprobs": True}, "logprobs", "got true"),
        ({"echo": True, "logprobs": 1}, "echo", "prompts are not scored"),
        ({"suffix": "x", "prompt": [1]}, "suffix", "needs a prompt of text"),
        ({"suffix": "x", "prompt": ["a", "b"]}, "suffix", "goes with one prompt"),
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
    assert (decoded.ignored, request_of(decoded).choices) == ((), 2)


def test_a_request_needs_a_model_from_somewhere() -> None:
    """Without a default the body must name one."""
    nobody = Envelope(RequestId("r"), TenantId("t"), lambda: None)
    with pytest.raises(InvalidRequest, match="is missing") as caught:
        decode_chat(json.dumps({"messages": USER}).encode(), nobody)
    assert caught.value.param == "model"
    assert request_of(decode_chat(json.dumps({"messages": USER, "model": "m"}).encode(), nobody)).model == "m"


def test_the_default_model_is_looked_for_only_where_it_is_needed() -> None:
    """Whoever knows it may have to read a whole catalogue."""
    asked: list[str] = []

    def default() -> ModelName:
        asked.append("default")
        return ModelName("only")

    envelope = Envelope(RequestId("r"), TenantId("t"), default)
    named = decode_chat(json.dumps({"messages": USER, "model": "m"}).encode(), envelope)
    assert (request_of(named).model, asked) == ("m", [])
    unnamed = decode_chat(json.dumps({"messages": USER}).encode(), envelope)
    assert (request_of(unnamed).model, asked) == ("only", ["default"])
