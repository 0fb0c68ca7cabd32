import json
import sys
from datetime import UTC, datetime

import pytest
from tests.scaffolding.chat_templates import (
    CHATML,
    DEEPSEEK,
    FAMILIES,
    GPT_OSS,
    LLAMA3,
    MISTRAL,
    PARTS,
    QWEN3,
    SPECIAL_TOKENS,
)

from allod.core.errors import ImportRefused, InvalidRequest
from allod.core.request import Conversation, Message
from allod.core.tools import Tool, ToolCall
from allod.text.template import JinjaChatTemplate

KNOWS_DEVELOPER = (
    "{% for m in messages %}{% if m.role == 'developer' %}DEV{% endif %}[{{ m.content }}]{% endfor %}"
)
TAGGED = "{% generation %}x{% endgeneration %}\n  {# y #}\nz{{ documents is none }}"

HI = Message("user", "Hi <b> & 'é' 😀\n")
HELLO = Message("assistant", "Hello {{ 1 }}")
WHY = Message("user", "Why?")
BRIEF = Message("system", "Be brief.")
PLAIN = (HI, HELLO, WHY)
WEATHER = Tool(
    "weather", "Tells the weather.", '{"properties": {"city": {"type": "string"}}, "type": "object"}'
)
CALL = ToolCall("call_1", "weather", '{"city": "Rome"}')
CALLED = (
    WHY,
    Message("assistant", "", tool_calls=(CALL,)),
    Message("tool", "sunny", call_identifier="call_1"),
)


def template(source: str, tool_source: str | None = None) -> JinjaChatTemplate:
    return JinjaChatTemplate(source, SPECIAL_TOKENS, lambda: datetime(2026, 2, 3, tzinfo=UTC), tool_source)


def rendered(source: str, *messages: Message, **fields: object) -> str:
    return template(source).render(Conversation(messages, **fields))  # type: ignore[arg-type]


def expected(source: str, *messages: Message, continues: bool = False, **variables: object) -> str:
    """What Hugging Face renders."""
    chat_template_utils = pytest.importorskip("transformers.utils.chat_template_utils")
    (text,), _ = chat_template_utils.render_jinja_template(
        [[{"role": message.role, "content": message.content} for message in messages]],
        chat_template=source,
        add_generation_prompt=not continues,
        continue_final_message=continues,
        **SPECIAL_TOKENS,
        **variables,
    )
    return text


def without_date(text: str) -> str:
    """Hugging Face looks at the real calendar."""
    return "\n".join(line for line in text.split("\n") if not line.startswith("Today: "))


def test_chatml_renders_as_it_is_written() -> None:
    """Content is data: markup, braces and newlines in it are not interpreted."""
    assert rendered(CHATML, BRIEF, *PLAIN) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi <b> & 'é' 😀\n<|im_end|>\n"
        "<|im_start|>assistant\nHello {{ 1 }}<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "parts"])
@pytest.mark.parametrize("with_system", [False, True])
def test_plain_conversations_render_as_transformers_renders_them(name: str, with_system: bool) -> None:
    """The environment is the one that templates are written for, and nothing is put in or taken out."""
    turns = (BRIEF, *PLAIN) if with_system and name != "Gemma" else PLAIN
    source = FAMILIES[name]
    assert without_date(rendered(source, *turns)) == without_date(expected(source, *turns))
    assert without_date(rendered(source, *turns[:-2])) == without_date(expected(source, *turns[:-2]))


@pytest.mark.parametrize("source", [TAGGED, "{{ messages[0].content }}", "{{ tools is none }}"])
def test_odd_templates_render_as_transformers_renders_them(source: str) -> None:
    """A template that shows nothing of a conversation is left to itself."""
    assert rendered(source, BRIEF, *PLAIN) == expected(source, BRIEF, *PLAIN)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "parts"])
@pytest.mark.parametrize("ending", ["The sky", "The sky ", "\n  The sky\n", ""])
def test_an_answer_goes_on_as_transformers_lets_it(name: str, ending: str) -> None:
    """The prompt ends right after the last message's words, without a mark of its end."""
    turns = (HI, Message("assistant", ending))
    source = FAMILIES[name]
    assert without_date(rendered(source, *turns, continue_last=True)) == without_date(
        expected(source, *turns, continues=True)
    )


@pytest.mark.parametrize("turns", [(), (HI,), (HI, Message("assistant", "", tool_calls=(CALL,)))])
def test_only_an_answer_can_go_on(turns: tuple[Message, ...]) -> None:
    """A user's words or a call have no open end; the refusal names the message."""
    with pytest.raises(InvalidRequest, match="can be continued") as caught:
        rendered(CHATML, *turns, continue_last=True)
    assert caught.value.param == f"messages[{max(0, len(turns) - 1)}]"


def test_a_template_that_hides_the_last_answer_cannot_go_on_from_it() -> None:
    """Continuing words that the model does not see is a refusal, not a prompt without them."""
    source = "{% for m in messages %}{% if not loop.last %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(InvalidRequest, match="does not show the last message"):
        rendered(source, HI, HELLO, continue_last=True)


def test_tools_reach_the_template_in_the_form_of_the_protocol() -> None:
    """Keys keep the client's order; what templates take for granted is filled in."""
    bare = Tool("now", parameters="")
    text = rendered("{{ messages[0].content }}{{ tools | tojson }}", WHY, tools=(WEATHER, bare))
    assert json.loads(text.removeprefix("Why?")) == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tells the weather.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        },
        {
            "type": "function",
            "function": {
                "name": "now",
                "description": "",
                "parameters": {"type": "object", "properties": {}},
            },
        },
    ]
    assert text.index('"properties": {"city"') < text.index('"type": "object"')


@pytest.mark.parametrize("parameters", ["[]", "{", "3", '{"a": "\\ud800"}'])
@pytest.mark.parametrize("source", [CHATML, QWEN3])
def test_a_schema_that_is_no_object_is_refused_by_name(source: str, parameters: str) -> None:
    """The tool at fault is named."""
    with pytest.raises(InvalidRequest, match="JSON object") as caught:
        rendered(source, WHY, tools=(WEATHER, Tool("bad", parameters=parameters)))
    assert caught.value.param == "tools[1].function.parameters"


@pytest.mark.parametrize(
    ("source", "takes"), [(CHATML, False), (QWEN3, True), (MISTRAL, True), (PARTS, False), (GPT_OSS, True)]
)
def test_whether_a_template_takes_tools_is_found_out(source: str, takes: bool) -> None:
    """By a canary, not by the template's words."""
    assert template(source).takes_tools is takes


@pytest.mark.parametrize("name", FAMILIES)
def test_without_a_choice_there_are_no_tools(name: str) -> None:
    """`tool_choice: none` renders what no tools render."""
    alone = rendered(FAMILIES[name], *PLAIN)
    assert rendered(FAMILIES[name], *PLAIN, tools=(WEATHER,), tool_choice="none") == alone
    assert "weather" in rendered(FAMILIES[name], *PLAIN, tools=(WEATHER,))


def test_the_template_for_tools_is_used_where_there_are_tools() -> None:
    """Also where only the history has them; its text counts for the choice of a dialect."""
    both = template(CHATML, QWEN3)
    assert both.takes_tools
    assert both.source == f"{CHATML}\n{QWEN3}"
    assert both.render(Conversation(PLAIN)) == rendered(CHATML, *PLAIN)
    with_tools = Conversation(PLAIN, tools=(WEATHER,))
    assert both.render(with_tools) == template(QWEN3).render(with_tools)
    assert both.render(Conversation(CALLED)) == rendered(QWEN3, *CALLED)


def test_a_template_for_tools_alone_is_given_a_list() -> None:
    """One that walks the tools without asking, where only the history has any."""
    walks = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}" + CHATML
    assert "sunny" in template(CHATML, walks).render(Conversation(CALLED))
    assert template(CHATML, walks).takes_tools


def test_a_name_that_only_the_identifier_shows_is_in_it() -> None:
    """Kimi K2 writes `functions.weather:0` and nothing else."""
    source = (
        "{{ tools | tojson }}{% for m in messages %}[{{ m.role }}:{{ m.content }}{{ m.tool_call_id }}"
        "{% for c in m.tool_calls or [] %}{{ c.id }}{{ c.function.arguments | tojson }}{% endfor %}]"
        "{% endfor %}"
    )
    assert rendered(source, *CALLED).endswith(
        '[assistant:functions.weather:0{"city": "Rome"}][tool:sunnyfunctions.weather:0]'
    )


def test_thinking_is_switched_by_the_names_templates_use() -> None:
    """And left alone where the client says nothing."""
    source = "{{ messages[0].content }}{{ enable_thinking }}|{{ thinking }}"
    assert rendered(source, WHY) == "Why?|"
    assert rendered(source, WHY, thinking=False) == "Why?False|False"
    assert rendered(source, WHY, thinking=True, template_arguments='{"thinking": 0}') == "Why?True|0"
    assert rendered(QWEN3, WHY, thinking=False).endswith("<think>\n\n</think>\n\n")
    assert "Reasoning: high" in rendered(GPT_OSS, WHY, template_arguments='{"reasoning_effort": "high"}')


@pytest.mark.parametrize("arguments", ["[]", "{", "null"])
def test_template_arguments_are_an_object(arguments: str) -> None:
    """Anything else is refused by the field's name."""
    with pytest.raises(InvalidRequest, match="JSON object") as caught:
        rendered(CHATML, WHY, template_arguments=arguments)
    assert caught.value.param == "chat_template_kwargs"


@pytest.mark.parametrize(
    "name", ["messages", "tools", "add_generation_prompt", "bos_token", "raise_exception", "strftime_now"]
)
def test_template_arguments_do_not_replace_what_the_server_sets(name: str) -> None:
    """A client cannot forge a conversation past what was checked."""
    with pytest.raises(InvalidRequest, match="sets this template variable") as caught:
        rendered(CHATML, WHY, template_arguments=json.dumps({name: []}))
    assert caught.value.param == f"chat_template_kwargs.{name}"


def test_reasoning_is_given_under_both_of_its_names() -> None:
    """Qwen's templates read `reasoning_content`, gpt-oss's read `thinking`."""
    source = "{% for m in messages %}{{ m.content }}{{ m.reasoning_content }}{{ m.thinking }};{% endfor %}"
    assert rendered(source, WHY, Message("assistant", "A", reasoning="R"), WHY) == "Why?;ARR;Why?;"
    thought = Message("assistant", "", tool_calls=(CALL,), reasoning="Rome it is.")
    turns = (WHY, thought, CALLED[2])
    assert "<think>\nRome it is.\n</think>" in rendered(QWEN3, *turns, tools=(WEATHER,))
    assert "analysis<|message|>Rome it is." in rendered(GPT_OSS, *turns, tools=(WEATHER,))


def test_content_in_parts_for_those_who_want_parts() -> None:
    """Found out by canaries: a string would be read letter by letter and lost."""
    assert rendered(PARTS, BRIEF, WHY) == (
        "<|im_start|>system:Be brief.<end>\n<|im_start|>user:Why?<end>\nAssistant:"
    )


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (QWEN3, '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'),
        (LLAMA3, '{"name": "weather", "parameters": {"city": "Rome"}}<|eot_id|>'),
        (MISTRAL, '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}, "id": "'),
        (GPT_OSS, 'to=functions.weather<|channel|>commentary json<|message|>{"city": "Rome"}<|call|>'),
        (DEEPSEEK, 'function<｜tool▁sep｜>weather\n```json\n{"city": "Rome"}\n```'),
    ],
)
def test_arguments_are_shown_as_the_model_writes_them(source: str, shown: str) -> None:
    """An object or its text, whichever the template wants."""
    assert shown in rendered(source, *CALLED, tools=(WEATHER,))


@pytest.mark.parametrize("source", [QWEN3, MISTRAL, GPT_OSS, DEEPSEEK, CHATML])
@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", "Rome", '{"a": "\\ud800"}', '{"a":' * 9999])
def test_broken_arguments_are_wrapped(source: str, arguments: str) -> None:
    """A history that a model once broke can be replayed; the words stay."""
    call = Message("assistant", "", tool_calls=(ToolCall("call_1", "weather", arguments),))
    text = rendered(source, WHY, call, CALLED[2], tools=(WEATHER,))
    assert f'{{"_raw": {json.dumps(arguments)}}}' in text


def test_arguments_may_be_missing() -> None:
    """The empty text that some clients send means no arguments."""
    call = Message("assistant", "", tool_calls=(ToolCall("call_1", "weather", " "),))
    assert '"arguments": {}' in rendered(QWEN3, WHY, call, CALLED[2])


def test_the_templates_own_refusal_reaches_the_client_with_the_message_at_fault() -> None:
    """`raise_exception` is the template speaking to the user; the first message it refuses is named."""
    source = (
        "{% for m in messages %}{% if 'x' in m.content %}{{ raise_exception('No x, please') }}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    assert rendered(source, *PLAIN)
    for index in range(3):
        turns = list(PLAIN)
        turns[index] = Message("user", "an x")
        with pytest.raises(InvalidRequest, match="No x, please") as caught:
            rendered(source, *turns)
        assert caught.value.param == f"messages[{index}]"


def test_no_message_is_blamed_for_a_bad_template_argument() -> None:
    """The template refuses every conversation with it."""
    source = "{{ messages[0].content }}{% if level %}{{ raise_exception('No such level') }}{% endif %}"
    with pytest.raises(InvalidRequest, match="No such level") as caught:
        rendered(source, WHY, template_arguments='{"level": 9}')
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "expression",
    ["nothing.at.all", "1 / 0", "none + 'x'", "messages[9].content", "''.__class__.__mro__[1].x"],
)
def test_whatever_a_template_raises_is_a_refusal(expression: str) -> None:
    """Foreign code cannot break out of `render` with an exception of its own."""
    with pytest.raises(InvalidRequest, match="chat template"):
        rendered("{{ " + expression + " }}", *PLAIN)


def test_a_template_that_does_not_parse_is_refused_at_once() -> None:
    """Found when the model is looked at, not when a client asks."""
    with pytest.raises(ImportRefused, match="not valid Jinja"):
        template("{% if %}")
    with pytest.raises(ImportRefused, match="not valid Jinja"):
        template(CHATML, "{% if %}")


def test_what_templates_call() -> None:
    """The tojson filter keeps characters and does not escape for HTML; strftime_now uses the given clock."""
    assert rendered("{{ {'text': '<é>'} | tojson }}", WHY) == '{"text": "<é>"}'
    assert rendered("{{ {'a': 1} | tojson(indent=1) }}", WHY) == '{\n "a": 1\n}'
    assert rendered("{{ strftime_now('%d %b %Y') }}", WHY) == "03 Feb 2026"
    loop = "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}"
    assert rendered(loop, *PLAIN) == "user"


def test_a_name_is_passed_on_only_where_there_is_one() -> None:
    """Templates ask `'name' in message`."""
    source = "{% for m in messages %}{{ m.content }}{{ m.name if 'name' in m else '-' }}{% endfor %}"
    assert rendered(source, Message("user", "a", "Ann"), Message("user", "b")) == "aAnnb-"


def test_developer_becomes_system_unless_the_template_knows_it() -> None:
    """ChatML prints any role; one that the model never saw in training is no use to it."""
    developer = Message("developer", "Be brief.")
    assert rendered(CHATML, developer, HI) == rendered(CHATML, BRIEF, HI)
    assert rendered(KNOWS_DEVELOPER, developer, WHY) == "DEV[Be brief.][Why?]"


def test_rendering_leaves_the_recursion_limit_alone() -> None:
    """A template that recurses without end is a refusal too."""
    limit = sys.getrecursionlimit()
    with pytest.raises(InvalidRequest):
        rendered("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", *PLAIN)
    assert sys.getrecursionlimit() == limit
