"""Bodies of Anthropic's Messages API to requests, and what is refused in which words."""

import json
import re
from typing import Any

import pytest

from allod.core.errors import InvalidRequest
from allod.core.formats import JsonSchema, PlainText
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import Conversation, GenerationRequest, Message
from allod.core.tools import NamedTool, Tool, ToolCall
from allod.text.settings import PromptSettings
from allod.text.volatile import stable
from allod.wire.anthropic.request import decode_count, decode_messages
from allod.wire.anthropic.schema import components
from allod.wire.dialect import Decoded, Envelope

ENVELOPE = Envelope(RequestId("req-1"), TenantId("t"), lambda: None)
HI = {"role": "user", "content": "hi"}
WEATHER = {"name": "weather", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words, "cache_control": {"type": "ephemeral"}}


def turn(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def decode(*turns: dict[str, Any], **fields: object) -> Decoded:
    body = {"model": "m", "max_tokens": 9, "messages": list(turns or (HI,)), **fields}
    return decode_messages(json.dumps(body).encode(), ENVELOPE)


def asked(*turns: dict[str, Any], **fields: object) -> GenerationRequest:
    (request,) = decode(*turns, **fields).requests
    return request


def conversation(*turns: dict[str, Any], **fields: object) -> Conversation:
    source = asked(*turns, **fields).source
    assert isinstance(source, Conversation)
    return source


def refusal(*turns: dict[str, Any], **fields: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(*turns, **fields)
    assert caught.value.param
    return caught.value.message


# ---------------------------------------------------------------- plain requests


def test_a_plain_request() -> None:
    """Limits, stops and sampling arrive; what was not said stays unsaid."""
    request = asked(stop_sequences=["END", ""], temperature=0.5, top_p=0.9, top_k=40, stream=True)
    assert request.max_tokens == 9
    assert request.stop == ("END",)
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.top_k) == (0.5, 0.9, 40)
    assert request.form == PlainText()
    assert conversation().messages == (Message("user", "hi"),)
    assert decode(stream=True).stream
    assert not decode().stream


def test_a_body_without_a_model_takes_the_default() -> None:
    """The only model there is serves; with several, the field is missing in Anthropic's words."""
    body = json.dumps({"max_tokens": 9, "messages": [HI]}).encode()
    default = Envelope(RequestId("r"), TenantId("t"), lambda: ModelName("only"))
    assert decode_messages(body, default).requests[0].model == "only"
    with pytest.raises(InvalidRequest, match=r"^model: Field required$"):
        decode_messages(body, ENVELOPE)


def test_each_system_block_is_a_text_of_its_own() -> None:
    """A string is one message, blocks are one each, empty ones are none."""
    assert conversation(system="Be brief.").messages[0] == Message("system", "Be brief.")
    blocks = conversation(system=[text("A"), text(""), text("B")]).messages
    assert blocks == (Message("system", "A"), Message("system", "B"), Message("user", "hi"))


def test_what_changes_with_each_request_never_reaches_the_prompt() -> None:
    """Two requests of Claude Code that differ in their billing line are the same before they are rendered."""
    first, second = (
        conversation(
            system=[text(f"x-anthropic-billing-header: cc_version=2; cch={nonce};"), text("Be kind.")]
        )
        for nonce in ("a", "b")
    )
    kept = PromptSettings()
    assert first != second
    assert stable(first, kept) == stable(second, kept)
    assert stable(first, kept).messages[0] == Message("system", "Be kind.")
    joined = conversation(system="x-anthropic-billing-header: cch=1;\n\nBe kind.")
    assert stable(joined, kept).messages[0] == Message("system", "Be kind.")


def test_a_system_turn_stays_where_it_is() -> None:
    """The role system inside messages is accepted, as a string and as blocks."""
    messages = conversation(HI, {"role": "system", "content": "A"}, turn("system", text("B")), HI).messages
    assert [message.role for message in messages] == ["user", "system", "system", "user"]


# ---------------------------------------------------------------- tools


def test_a_call_and_its_result_go_round() -> None:
    """Ids lose Anthropic's prefix, the result knows its tool, results come before what the user says."""
    messages = conversation(
        HI,
        turn(
            "assistant",
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            text("I look."),
            CALL,
        ),
        turn("user", text("Thanks."), RESULT),
    ).messages
    call = ToolCall("call_1", "weather", '{"city":"Bern"}')
    assert messages[1] == Message("assistant", "I look.", tool_calls=(call,), reasoning="Hm.")
    assert messages[2] == Message("tool", "sunny", name="weather", call_identifier="call_1")
    assert messages[3] == Message("user", "Thanks.")


def test_any_id_is_accepted() -> None:
    """An id that is not in Anthropic's form stays as it is."""
    messages = conversation(turn("user", {**RESULT, "tool_use_id": "chatcmpl-tool-7"})).messages
    assert messages == (Message("tool", "sunny", call_identifier="chatcmpl-tool-7"),)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"content": "a"}, "a"),
        ({"content": [text("a"), text("b")]}, "a\nb"),
        ({"content": []}, ""),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": "no such file", "is_error": True}, "Error: no such file"),
    ],
)
def test_what_a_tool_answered(content: dict[str, Any], told: str) -> None:
    """Strings and lists of text are read; the model sees that a result is an error."""
    block = {"type": "tool_result", "tool_use_id": "toolu_1", **content}
    assert conversation(turn("user", block)).messages[0].content == told


def test_documents_and_search_results_are_read_as_text() -> None:
    """Their titles and texts reach the model."""
    document = {"type": "document", "title": "T", "source": {"type": "text", "data": "plain"}}
    nested = {"type": "document", "source": {"type": "content", "content": [text("inner")]}}
    found = {"type": "search_result", "title": "F", "source": "http://a", "content": [text("hit")]}
    messages = conversation(turn("user", document, nested, found, text("?"))).messages
    assert messages == (Message("user", "T\nplain\ninner\nF\nhttp://a\nhit\n?"),)


def test_tools_that_the_client_runs() -> None:
    """They arrive with their schema; those of Anthropic's servers are skipped and named."""
    decoded = decode(
        tools=[
            {**WEATHER, "description": "d", "strict": True},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            {"type": "custom", "name": "now", "input_schema": {}, "defer_loading": True},
        ]
    )
    source = decoded.requests[0].source
    assert isinstance(source, Conversation)
    assert source.tools == (Tool("weather", "d", '{"type":"object"}', strict=True), Tool("now"))
    assert "tools.web_search_20250305" in decoded.ignored
    assert "tools.defer_loading" in decoded.ignored


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "weather"}, NamedTool("weather")),
    ],
)
def test_tool_choice(choice: dict[str, Any], meant: object) -> None:
    """Each form has its meaning, and may forbid several calls at once."""
    assert conversation(tools=[WEATHER], tool_choice=choice).tool_choice == meant
    assert conversation(tools=[WEATHER], tool_choice=choice).parallel_tool_calls
    alone = conversation(tools=[WEATHER], tool_choice={**choice, "disable_parallel_tool_use": True})
    assert not alone.parallel_tool_calls


# ---------------------------------------------------------------- thinking, formats, prefill


@pytest.mark.parametrize(
    ("thinking", "meant"),
    [
        (None, (False, None, "none")),
        ({"type": "disabled"}, (False, None, "none")),
        ({"type": "adaptive", "display": "summarized"}, (True, None, "field")),
        ({"type": "enabled", "budget_tokens": 1024}, (True, 1024, "field")),
    ],
)
def test_thinking(thinking: object, meant: tuple[object, ...]) -> None:
    """Whoever does not ask for thinking gets none: their first block is the text."""
    request = asked(thinking=thinking)
    assert isinstance(request.source, Conversation)
    assert (request.source.thinking, request.source.reasoning_tokens, request.reasoning) == meant


def test_a_schema_for_the_answer() -> None:
    """It is read from where the API has it now, and from where its beta had it."""
    schema = {"type": "json_schema", "schema": {"type": "object"}}
    now, beta = asked(output_config={"format": schema}), asked(output_format=schema)
    assert now.form == JsonSchema('{"type":"object"}', "output_config.format.schema")
    assert beta.form == JsonSchema('{"type":"object"}', "output_format.schema")


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    """A last turn of the assistant is a prefill; an empty one is none."""
    begun = conversation(HI, {"role": "assistant", "content": "The answer is ("})
    assert begun.continue_last
    assert begun.messages[-1] == Message("assistant", "The answer is (")
    assert conversation(HI, turn("assistant")) == conversation(HI)


def test_fields_without_effect_are_named() -> None:
    """Sorted, dotted, without positions; null means absent."""
    ignored = decode(
        turn("user", text("a")),
        metadata={"user_id": "u"},
        service_tier="auto",
        context_management={"edits": []},
        container=None,
        output_config={"effort": "high"},
    ).ignored
    assert ignored == (
        "context_management",
        "messages.content.cache_control",
        "metadata",
        "output_config.effort",
        "service_tier",
    )


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
        ({"messages": []}, "messages: List should have at least 1 item after validation, not 0"),
        ({"system": 3}, "system: Input should be a string or a list of content blocks"),
        ({"system": [{"type": "text"}]}, "system.0.text: Field required"),
        ({"tools": [{"name": "a"}]}, "tools.0.input_schema: Field required"),
        ({"tools": [WEATHER, WEATHER]}, "tools: Tool names must be unique."),
        ({"thinking": {"type": "on"}}, "thinking.type: Input should be 'enabled', "),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.tool.name: Field required"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}},
            "tool_choice.name: Tool 'x' not found in provided tools",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice: may only be specified while providing tools"),
        ({"stop_sequences": ["\0"]}, "stop_sequences.0: holds a NUL character"),
        ({"tools": [{"name": "a", "input_schema": {"x": "\ud800"}}]}, "tools.0.input_schema: holds a string"),
    ],
)
def test_what_is_wrong_is_named_in_anthropics_words(fields: dict[str, Any], words: str) -> None:
    """The field first, then what it should be."""
    assert refusal(**fields).startswith(words)


def test_max_tokens_is_required() -> None:
    """In exactly Anthropic's words."""
    with pytest.raises(InvalidRequest) as caught:
        decode_messages(json.dumps({"model": "m", "messages": [HI]}).encode(), ENVELOPE)
    assert caught.value.message == "max_tokens: Field required"


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (
            [turn("user", {**RESULT, "content": [{"type": "tool_reference", "tool_name": "a"}]})],
            "messages.0.content.0.content.0: blocks of type `tool_reference` are not served here",
        ),
        (
            [turn("assistant", {"type": "server_tool_use", "id": "a", "name": "b", "input": {}}), HI],
            "messages.0.content.0: blocks of type `server_tool_use` are not served here",
        ),
        (
            [turn("user", {"type": "document", "source": {"type": "base64", "data": ""}})],
            "messages.0.content.0.source: documents of type `base64` are not served here",
        ),
        ([turn("user", CALL)], "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages"),
        (
            [turn("assistant", RESULT)],
            "messages.0.content.0: `tool_result` blocks can only be in `user` mess",
        ),
        ([turn("user", {"type": 3})], "messages.0.content.0.type: Input should be a valid string"),
        ([turn("user", "a")], "messages.0.content.0: Input should be an object"),  # type: ignore[arg-type]
        (
            [{"role": "tool", "content": "a"}],
            "messages.0.role: Input should be 'user', 'assistant' or 'system'",
        ),
        ([{"role": "user"}], "messages.0.content: Field required"),
        ([{"role": "user", "content": None}], "messages.0.content: Input should be a string or a list"),
        (
            [HI, turn("assistant", text("a "))],
            "messages: final assistant content cannot end with trailing whitespace",
        ),
        (
            [HI, turn("assistant", CALL)],
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
        ),
        (
            [HI, turn("assistant", {"type": "thinking", "thinking": "a", "signature": "s"})],
            "messages.1: The final block in an assistant message cannot be `thinking`.",
        ),
        ([turn("assistant")], "messages: at least one message with content is required"),
    ],
)
def test_turns_that_cannot_be_served(turns: list[dict[str, Any]], words: str) -> None:
    """The refusal names the block, its problem and the way out."""
    assert refusal(*turns).startswith(words)


def test_a_count_is_of_the_prompt_that_an_answer_has() -> None:
    """The same body, with and without max_tokens, gives the same prompt."""
    fields = {"system": "S", "tools": [WEATHER], "thinking": {"type": "adaptive"}}
    body = {"model": "m", "messages": [HI], **fields}
    counted = decode_count(json.dumps(body).encode(), ENVELOPE)
    answered = asked(**fields)
    assert counted.source == answered.source
    assert (counted.model, counted.form) == (answered.model, answered.form)


def test_the_description_of_the_bodies_is_whole() -> None:
    """Every part that is referred to is there, under a name that no other dialect uses."""
    parts = components()
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(parts)))
    assert {"AnthropicMessagesRequest", "AnthropicCountTokensRequest"} <= set(parts)
    assert referred <= set(parts)
    assert all(name.startswith("Anthropic") for name in parts)
