import json

from tests.scaffolding.chat_templates import CHATML, GRANITE, QWEN3

from allod.core.request import Conversation, Message
from allod.core.tools import Tool, ToolCall
from allod.text.generic_tools import hermes_calls, in_generic_form, writer_for
from allod.text.template import JinjaChatTemplate

ASK = Message("user", "ask")
TOOLS = (Tool("f", "Does <f>.", '{"z": 1, "a": 2}'), Tool("g"))
CALLS = (ToolCall("1", "f", '{"x":1}'), ToolCall("2", "g", ""))


def test_the_tools_stand_in_the_system_message_one_a_line() -> None:
    """As JSON of the protocol's form, after the client's own words."""
    (system, ask) = in_generic_form([ASK], TOOLS)
    assert ask == ASK
    listed = system.content.split("<tools>\n")[1].split("\n</tools>")[0]
    assert [json.loads(line)["function"]["name"] for line in listed.splitlines()] == ["f", "g"]
    assert '"parameters": {"z": 1, "a": 2, ' in listed
    assert "Does <f>." in listed
    assert in_generic_form([Message("system", "S"), ASK], TOOLS)[0].content == f"S\n\n{system.content}"
    last = in_generic_form([Message("system", "S"), Message("system", ""), ASK], TOOLS)
    assert [message.content for message in last] == ["S", system.content, "ask"]


def test_calls_and_results_are_words_of_the_two_sides() -> None:
    """Results in a row share a turn; arguments stay as they were written."""
    turns = [
        ASK,
        Message("assistant", "Let me see.", tool_calls=CALLS),
        Message("tool", "a"),
        Message("tool", "b"),
    ]
    spoken = in_generic_form(turns, ())
    assert [(message.role, message.content) for message in spoken] == [
        ("user", "ask"),
        (
            "assistant",
            'Let me see.\n<tool_call>\n{"name": "f", "arguments": {"x":1}}\n</tool_call>\n'
            '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>',
        ),
        ("user", "<tool_response>\na\n</tool_response>\n<tool_response>\nb\n</tool_response>"),
    ]
    assert not any(message.tool_calls for message in spoken)


def test_a_conversation_without_tools_is_left_alone() -> None:
    """Not a word is added."""
    assert in_generic_form([ASK, Message("assistant", "yes")], ()) == [ASK, Message("assistant", "yes")]


def test_a_template_without_tools_gets_them_in_words() -> None:
    """The system message that the template makes up on its own is replaced, as by any client's."""
    template = JinjaChatTemplate(CHATML, {}, lambda: None)  # type: ignore[arg-type, return-value]
    text = template.render(Conversation((ASK, Message("assistant", "", tool_calls=CALLS)), tools=TOOLS))
    assert text.startswith("<|im_start|>system\n# Tools\n")
    assert "<|im_start|>assistant\n<tool_call>\n" in text


def test_a_template_that_drops_calls_gets_them_as_its_model_writes_them() -> None:
    """Granite lists the tools, but leaves it to the client to write the calls."""
    assert writer_for("<|tool_response_start|>")((ToolCall("1", "f", '{"x": [true, "é"]}'), CALLS[1])) == (
        "<|tool_call_start|>[f(x=[True, 'é']), g()]<|tool_call_end|>"
    )
    assert writer_for(QWEN3) is hermes_calls
    assert writer_for(GRANITE)(CALLS) == (
        '<|tool_call|>[{"name": "f", "arguments": {"x":1}}, {"name": "g", "arguments": {}}]'
    )
