import sys
from datetime import UTC, datetime

import pytest

from allod.core.errors import ImportRefused, InvalidRequest
from allod.core.request import Message
from allod.text.template import JinjaChatTemplate

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, "
    "trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# takes one system message, at the start only; refuses the rest; insists on alternation
STRICT = """
{%- set system = messages[0].content if messages[0].role == 'system' else none %}
{%- set turns = messages[1:] if system is not none else messages %}
{{- bos_token }}
{%- for message in turns %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) or message.role not in ('user', 'assistant') %}
        {{- raise_exception('Roles must alternate user/assistant') }}
    {%- endif %}
    {%- if loop.first and system is not none %}{{- '<<' + system + '>>' }}{% endif %}
    {{- '[' + message.role + ':' + message.content + ']' }}
{%- endfor %}
"""
# shows only the roles it knows and drops the rest without a word
DROPPING = (
    "{% for m in messages %}{% if m.role in ('user', 'assistant') %}[{{ m.role }}:{{ m.content }}]"
    "{% endif %}{% endfor %}"
)
KNOWS_DEVELOPER = (
    "{% for m in messages %}{% if m.role == 'developer' %}DEV{% endif %}[{{ m.content }}]{% endfor %}"
)
TAGGED = "{% generation %}x{% endgeneration %}\n  {# y #}\nz"
TEMPLATES = {
    "SmolLM2": SMOLLM2, "strict": STRICT, "dropping": DROPPING, "knows developer": KNOWS_DEVELOPER,
}  # fmt: skip

CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "Hi <b> & 'é' 😀\n"),
    Message("assistant", "Hello {{ 1 }}"),
    Message("user", "Why?"),
)
QUESTION = (Message("user", "Why?"),)


def template(source: str, **special_tokens: str) -> JinjaChatTemplate:
    return JinjaChatTemplate(source, special_tokens, lambda: datetime(2026, 2, 3, tzinfo=UTC))


def test_chatml_renders_as_it_is_written() -> None:
    """Content is data: markup, braces and newlines in it are not interpreted."""
    assert template(SMOLLM2).render(CONVERSATION) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi <b> & 'é' 😀\n<|im_end|>\n"
        "<|im_start|>assistant\nHello {{ 1 }}<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("source", [SMOLLM2, STRICT, DROPPING, TAGGED])
def test_templates_render_as_transformers_renders_them(source: str) -> None:
    """The environment is the one that templates are written for."""
    chat_template_utils = pytest.importorskip("transformers.utils.chat_template_utils")
    turns = CONVERSATION if source in (SMOLLM2, STRICT) else CONVERSATION[1:]
    messages = [{"role": message.role, "content": message.content} for message in turns]
    (expected,), _ = chat_template_utils.render_jinja_template(
        [messages], chat_template=source, add_generation_prompt=True, bos_token="<s>"
    )
    assert template(source, bos_token="<s>").render(turns) == expected


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_message_is_in_the_prompt_or_refused_by_name(name: str, role: str, place: int) -> None:
    """No role at any place is silently lost."""
    messages = [Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
    messages.insert(place, Message(role, "canary"))  # type: ignore[arg-type]
    try:
        outcome = template(TEMPLATES[name], bos_token="").render(messages)
    except InvalidRequest as refusal:
        outcome = f"refused: {refusal.param}"
    assert "canary" in outcome or outcome.startswith("refused: messages")


def test_developer_becomes_system_unless_the_template_knows_it() -> None:
    """ChatML prints any role; one that the model never saw in training is no use to it."""
    messages = [Message("developer", "Be brief."), Message("user", "Hi")]
    assert (
        template(SMOLLM2)
        .render(messages)
        .startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user")
    )
    assert template(KNOWS_DEVELOPER).render(messages) == "DEV[Be brief.][Hi]"


def test_leading_system_messages_merge_where_only_one_is_taken() -> None:
    """The strict template sees one message; the permissive one sees both."""
    messages = [Message("system", "A"), Message("developer", "B"), Message("user", "Hi")]
    assert template(STRICT, bos_token="<s>").render(messages) == "<s><<A\n\nB>>[user:Hi]"
    assert template(SMOLLM2).render(messages).count("<|im_start|>system") == 2


def test_a_late_system_message_is_kept_or_refused_by_name() -> None:
    """The refusal names the message and says what to do with it."""
    messages = [
        Message("user", "Hi"),
        Message("assistant", "Yes"),
        Message("system", "C"),
        Message("user", "?"),
    ]
    assert "system\nC<" in template(SMOLLM2).render(messages)
    with pytest.raises(InvalidRequest, match="at the start") as caught:
        template(STRICT, bos_token="").render(messages)
    assert caught.value.param == "messages[2]"


def test_a_template_without_system_messages_refuses_them() -> None:
    """Dropping a system message in silence changes what the client asked for."""
    with pytest.raises(InvalidRequest, match="no system message") as caught:
        template(DROPPING).render([Message("system", "A"), Message("user", "Hi")])
    assert caught.value.param == "messages[0]"


def test_the_templates_own_refusal_reaches_the_client() -> None:
    """`raise_exception` is the template speaking to the user."""
    with pytest.raises(InvalidRequest, match="Roles must alternate user/assistant") as caught:
        template(STRICT, bos_token="").render([Message("user", "a"), Message("user", "b")])
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "expression",
    ["nothing.at.all", "1 / 0", "none + 'x'", "messages[9].content", "''.__class__.__mro__[1].x"],
)
def test_whatever_a_template_raises_is_a_refusal(expression: str) -> None:
    """Foreign code cannot break out of `render` with an exception of its own."""
    with pytest.raises(InvalidRequest, match="chat template"):
        template("{{ " + expression + " }}").render(CONVERSATION)


def test_a_template_that_does_not_parse_is_refused_at_once() -> None:
    """Found when the model is looked at, not when a client asks."""
    with pytest.raises(ImportRefused, match="not valid Jinja"):
        template("{% if %}")


def test_what_templates_call() -> None:
    """The tojson filter keeps characters and does not escape for HTML; strftime_now uses the given clock."""
    assert template("{{ {'text': '<é>'} | tojson }}").render(QUESTION) == '{"text": "<é>"}'
    assert template("{{ {'a': 1} | tojson(indent=1) }}").render(QUESTION) == '{\n "a": 1\n}'
    assert template("{{ strftime_now('%d %b %Y') }}").render(QUESTION) == "03 Feb 2026"
    assert template("{{ tools is none }}").render(QUESTION) == "True"
    loop = "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}"
    assert template(loop).render(CONVERSATION[1:]) == "user"


def test_a_name_is_passed_on_only_where_there_is_one() -> None:
    """Templates ask `'name' in message`."""
    source = "{% for m in messages %}{{ m.name if 'name' in m else '-' }}{% endfor %}"
    assert template(source).render([Message("user", "a", "Ann"), Message("user", "b")]) == "Ann-"


def test_rendering_leaves_the_recursion_limit_alone() -> None:
    """A template that recurses without end is a refusal too."""
    limit = sys.getrecursionlimit()
    source = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"
    with pytest.raises(InvalidRequest):
        template(source).render(CONVERSATION)
    assert sys.getrecursionlimit() == limit
