"""Bodies of POST /v1/responses: what they come to, and what is refused and why."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allod.core.errors import InvalidRequest
from allod.core.formats import JsonObject, JsonSchema, PlainText
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import Conversation, GenerationRequest, Message
from allod.core.tools import NamedTool, Tool, ToolCall
from allod.wire.dialect import Decoded, Envelope
from allod.wire.responses.compact import decoded_compaction, understood_compaction
from allod.wire.responses.request import Known, decode_response, prepared, stored_input, understood
from allod.wire.responses.schema import components
from allod.wire.responses.sealed import seal, unseal

ENVELOPE = Envelope(RequestId("req-1"), TenantId("local"), lambda: ModelName("tiny"))
LOOK = {"type": "function", "name": "look", "description": "looks", "parameters": {"type": "object"}}
RUN = {"type": "function", "name": "run", "strict": True}
USER = {"role": "user", "content": "hi"}


def decoded(**fields: object) -> Decoded:
    return decode_response(json.dumps(fields).encode(), ENVELOPE)


def request(**fields: object) -> GenerationRequest:
    return decoded(**fields).requests[0]


def conversation(**fields: object) -> Conversation:
    source = request(**fields).source
    assert isinstance(source, Conversation)
    return source


def refused(**fields: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decoded(**fields)
    return caught.value


def spoken(text: str) -> dict[str, str]:
    return {"type": "input_text", "text": text}


def allowed(mode: str) -> dict[str, object]:
    return {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "run"}]}


def test_a_string_is_what_the_user_says_after_the_instructions() -> None:
    """Instructions lead."""
    assert conversation(input="hi", instructions="be brief").messages == (
        Message("system", "be brief"),
        Message("user", "hi"),
    )


@pytest.mark.parametrize("fields", [{}, {"input": []}, {"input": ""}, {"instructions": "x", "input": []}])
def test_an_empty_input_can_be_answered(fields: dict[str, object]) -> None:
    """Clients probe servers so: somebody still speaks last, and says nothing."""
    asked = request(**fields, max_output_tokens=1)
    assert isinstance(asked.source, Conversation)
    assert asked.source.messages[-1] == Message("user", "")
    assert asked.max_tokens == 1


def test_consecutive_items_of_the_assistant_are_one_turn() -> None:
    """Reasoning, words and calls come back as the one message they were; results answer their calls."""
    items = [
        {
            "role": "developer",
            "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        },
        USER,
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
        },
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "+a"},
        {"type": "function_call_output", "call_id": "c1", "output": "sky"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "ok"}],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]
    calls = (ToolCall("c1", "look", "{}"), ToolCall("c2", "patch", '{"input":"+a"}'))
    assert conversation(input=items).messages == (
        Message("developer", "a\nb"),
        Message("user", "hi"),
        Message("assistant", "I look.", tool_calls=calls, reasoning="hm"),
        Message("tool", "sky", "look", call_identifier="c1"),
        Message("tool", "ok", "patch", call_identifier="c2"),
        Message("assistant", "no"),
    )


def test_calls_that_were_cut_off_were_never_made() -> None:
    """An incomplete call of an earlier answer is not in the prompt."""
    call = {
        "type": "function_call",
        "call_id": "c",
        "name": "look",
        "arguments": '{"a',
        "status": "incomplete",
    }
    assert conversation(input=[USER, call]).messages == (Message("user", "hi"),)


@pytest.mark.parametrize(
    ("item", "thought"),
    [
        ({"summary": [{"type": "summary_text", "text": "short"}]}, "short"),
        ({"summary": [], "encrypted_content": "gAAAAforeign"}, None),
        ({"summary": [], "encrypted_content": seal("reasoning", "all of it")}, "all of it"),
        ({"summary": [], "encrypted_content": seal("compaction", "other")}, None),
    ],
)
def test_reasoning_comes_back_from_whatever_holds_it(item: dict[str, object], thought: str | None) -> None:
    """Our own sealed text, else a summary; what another server encrypted is ignored."""
    messages = conversation(
        input=[USER, {"type": "reasoning", **item}, {"role": "assistant", "content": "x"}]
    ).messages
    assert messages[-1] == Message("assistant", "x", reasoning=thought)


def test_tools_are_functions_and_all_others_are_skipped_and_named() -> None:
    """A client that offers hosted tools is answered, and told."""
    foreign = ["web_search", "image_generation", "custom", "local_shell", "namespace", "mcp"]
    answer = decoded(input="hi", tools=[LOOK, *({"type": kind, "name": "n"} for kind in foreign), RUN])
    source = answer.requests[0].source
    assert isinstance(source, Conversation)
    assert source.tools == (
        Tool("look", "looks", '{"type":"object"}'),
        Tool("run", "", "{}", strict=True),
    )
    assert answer.ignored == tuple(sorted(f"tools.{kind}" for kind in foreign))


@pytest.mark.parametrize(
    ("choice", "tools", "expected"),
    [
        (None, ["look", "run"], "auto"),
        ("none", ["look", "run"], "none"),
        ("required", ["look", "run"], "required"),
        ({"type": "function", "name": "run"}, ["look", "run"], NamedTool("run")),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "run"}]},
            ["run"],
            "auto",
        ),
        (allowed("required"), ["run"], "required"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}, [], "auto"),
    ],
)
def test_tool_choices(choice: object, tools: list[str], expected: object) -> None:
    """Each form of a choice; allowed tools are the only ones left."""
    source = conversation(input="hi", tools=[LOOK, RUN], tool_choice=choice, parallel_tool_calls=False)
    assert ([tool.name for tool in source.tools], source.tool_choice) == (tools, expected)
    assert not source.parallel_tool_calls


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (None, PlainText()),
        ({}, PlainText()),
        ({"format": {"type": "text"}}, PlainText()),
        ({"format": {"type": "json_object"}}, JsonObject()),
        (
            {"format": {"type": "json_schema", "name": "n", "schema": {"type": "array"}, "strict": True}},
            JsonSchema('{"type":"array"}', "text.format.schema"),
        ),
    ],
)
def test_forms_of_the_answer(text: object, form: object) -> None:
    """An empty object asks for nothing."""
    assert request(input="hi", text=text).form == form


@pytest.mark.parametrize(
    ("reasoning", "thinking", "arguments"),
    [
        (None, None, {}),
        ({"effort": None}, None, {}),
        ({"effort": "none"}, False, {"reasoning_effort": "none"}),
        ({"effort": "high", "summary": "auto"}, True, {"reasoning_effort": "high"}),
    ],
)
def test_effort_switches_thinking(reasoning: object, thinking: bool | None, arguments: object) -> None:
    """The template learns the effort by name."""
    source = conversation(input="hi", reasoning=reasoning)
    assert (source.thinking, json.loads(source.template_arguments)) == (thinking, arguments)


@pytest.mark.parametrize(
    ("fields", "top"),
    [
        ({}, None),
        ({"top_logprobs": 0}, None),
        ({"top_logprobs": 3}, 3),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, 2),
    ],
)
def test_log_probabilities_are_asked_for_in_either_way(fields: dict[str, object], top: int | None) -> None:
    """`include` asks for the chosen tokens', `top_logprobs` for alternatives."""
    assert request(input="hi", **fields).sampling.top_logprobs == top


def test_everything_without_effect_is_named() -> None:
    """Nothing is dropped in silence."""
    answer = decoded(
        input=[USER, {"type": "web_search_call", "id": "ws_1", "status": "completed"}],
        truncation="auto",
        max_tool_calls=3,
        service_tier="flex",
        safety_identifier="s",
        prompt_cache_key="k",
        client_metadata={"a": 1},
        text={"verbosity": "low"},
        reasoning={"summary": "auto", "mode": "pro"},
        include=["reasoning.encrypted_content", "file_search_call.results"],
        stream_options={"include_obfuscation": False},
    )
    assert answer.ignored == (
        "client_metadata",
        "include.file_search_call.results",
        "input.web_search_call",
        "max_tool_calls",
        "prompt_cache_key",
        "reasoning.mode",
        "reasoning.summary",
        "safety_identifier",
        "service_tier",
        "text.verbosity",
        "truncation",
    )


FOREIGN = {"type": "compaction", "encrypted_content": "x"}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0]",
            'files are not served yet; send parts of the form {"type": "input_text", "text": "..."} or '
            '{"type": "input_image", "image_url": "..."}',
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "input[0].content[0]",
            "got a part of type image_url, which is not known here",
        ),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", "one of user, assistant"),
        ({"input": [{"role": "user"}]}, "input[0].content", "is missing"),
        ({"input": [7]}, "input[0]", "input"),
        ({"input": {"a": 1}}, "input", "a string or a list of items"),
        ({"input": [{"type": "item_reference", "id": "msg_0_0"}]}, "input[0].id", "no stored response"),
        (
            {"input": [{"type": "compaction", "encrypted_content": "x"}]},
            "input[0].encrypted_content",
            "not made",
        ),
        (
            {"input": [{"type": "function_call", "name": "n", "arguments": "{}"}]},
            "input[0].call_id",
            "is missing",
        ),
        ({"background": True}, "background", "send false"),
        ({"prompt": {"id": "p"}}, "prompt", "instructions"),
        ({"conversation": "conv_1"}, "conversation", "previous_response_id"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "out of reach"),
        ({"tools": [LOOK, LOOK]}, "tools[1].name", "two tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "is missing"),
        ({"tool_choice": "required"}, "tool_choice", "functions"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name", "not among the tools"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type", "does not run"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name", "is missing"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema", "is missing"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "one of text"),
        ({"temperature": 3}, "temperature", "from 0 to 2"),
        ({"max_output_tokens": 0}, "max_output_tokens", "1 or more"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "one of none"),
        ({"metadata": {"a": 1}}, "metadata.a", "at most 16"),
    ],
)
def test_refusals_name_the_field_and_the_way_out(fields: dict[str, object], param: str, words: str) -> None:
    """An exact 400."""
    error = refused(**fields)
    assert error.status == 400
    assert error.param == param
    assert words in error.message


def test_a_body_without_a_model_needs_a_default() -> None:
    """With several models one must be named."""
    with pytest.raises(InvalidRequest) as caught:
        decode_response(b'{"input":"hi"}', Envelope(RequestId("r"), TenantId("t"), lambda: None))
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":"a\\u0000b"}',
        b'{"input":"\\ud800"}',
        b'{"input":"hi","unknown":"\\ud800"}',
        b'{"input":[{"role":"user","content":"hi","x":"\\udfff"}]}',
        b'{"input":"hi","tools":[{"type":"function","name":"f","parameters":{"a":"\\udfff"}}]}',
        b'{"input":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"[]",
        b"{",
    ],
)
def test_unsound_bodies_are_refused(body: bytes) -> None:
    """What cannot be tokenised, kept or said again in JSON is a 400, never a 500."""
    with pytest.raises(InvalidRequest):
        decode_response(body, ENVELOPE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "id", "text", "name", "call_id", "output", "tools", "format"]
            ),
            inner
            | st.sampled_from(["message", "user", "assistant", "function_call", "input_text", "reasoning"]),
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning", "include"]), JSON)
)
def test_any_body_is_understood_or_refused(fields: dict[str, Any]) -> None:
    """No body comes to anything but a request or an InvalidRequest."""
    try:
        answer = decode_response(json.dumps(fields).encode(), ENVELOPE)
    except InvalidRequest:
        return
    assert answer.requests


STORED = [
    {
        "id": "msg_a_i0",
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "first"}],
    },
    {
        "id": "msg_a_0",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "one", "annotations": [], "logprobs": []}],
    },
]


def test_history_comes_before_the_input_and_after_new_instructions() -> None:
    """Instructions are not inherited, items are."""
    read = understood(b'{"input":"second","previous_response_id":"resp_a","instructions":"new"}')
    source = prepared(read, ENVELOPE, Known(STORED)).decoded.requests[0].source
    assert isinstance(source, Conversation)
    assert [message.content for message in source.messages] == ["new", "first", "one", "second"]


def test_references_are_replaced_or_known_already() -> None:
    """An item of another response is said; one that the history holds is not said twice."""
    body = {"input": [{"id": "msg_a_0"}, {"type": "item_reference", "id": "msg_b_0"}, USER]}
    read = understood(json.dumps(body).encode())
    assert read.references == ("msg_a_0", "msg_b_0")
    other = {**STORED[1], "id": "msg_b_0"}
    known = Known(STORED, {"msg_b_0": other})
    source = prepared(read, ENVELOPE, known).decoded.requests[0].source
    assert isinstance(source, Conversation)
    assert [message.content for message in source.messages] == ["first", "one\none", "hi"]
    assert [item["id"] for item in stored_input(read, known, "c")] == ["msg_b_0", "msg_c_i1"]


def test_kept_input_has_ids_types_and_parts() -> None:
    """What is kept can be listed in the API's own form, and read again."""
    read = understood(json.dumps({"input": [USER, {"role": "assistant", "content": "yo"}]}).encode())
    kept = stored_input(read, Known(), "c")
    assert kept[0] == {
        "id": "msg_c_i0",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "hi"}],
    }
    assert kept[1]["content"] == [{"type": "output_text", "text": "yo", "annotations": []}]
    again = prepared(understood(b'{"input":[]}'), ENVELOPE, Known(kept)).decoded.requests[0].source
    assert isinstance(again, Conversation)
    assert again.messages == (Message("user", "hi"), Message("assistant", "yo"))


def test_a_compaction_asks_for_a_summary_of_everything() -> None:
    """The whole conversation, then the task; without tools or thinking."""
    read = understood_compaction(b'{"input":"second","previous_response_id":"resp_a"}')
    source = decoded_compaction(read, ENVELOPE, Known(STORED)).requests[0].source
    assert isinstance(source, Conversation)
    assert [message.role for message in source.messages] == ["user", "assistant", "user", "user"]
    assert "Summarise" in source.messages[-1].content
    assert source.thinking is False


def test_a_compaction_item_is_understood() -> None:
    """The summary is what the user hands on."""
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": seal("compaction", "We chose blue.")}
    assert "We chose blue." in conversation(input=[item, USER]).messages[0].content


@given(st.text())
def test_sealed_text_comes_back(text: str) -> None:
    """Whatever was sealed, and only as the kind it was."""
    sealed = seal("reasoning", text)
    assert sealed.isascii()
    assert unseal("reasoning", sealed) == (None if "\0" in text else text)
    assert unseal("compaction", sealed) is None


@given(st.text() | st.text().map("allod1.".__add__))
def test_foreign_text_is_no_seal(text: str) -> None:
    """Nothing that a client may send breaks the reader."""
    assert unseal("reasoning", text) is None


def test_the_description_refers_only_to_what_it_holds() -> None:
    """Every reference in the schemas of bodies and answers leads somewhere."""
    described = components()
    text = json.dumps(described)
    names = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(described)
    assert {"ResponsesResponseRequest", "ResponsesCompactRequest", "ResponseObject"} <= set(described)
