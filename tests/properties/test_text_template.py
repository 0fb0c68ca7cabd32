"""Any history that a client may send reaches the model whole, whatever its chat template takes."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.scaffolding.chat_templates import FAMILIES, SPECIAL_TOKENS

from allod.core.errors import InvalidRequest
from allod.core.request import Conversation, Message
from allod.core.tools import Tool, ToolCall
from allod.text.settings import PromptSettings
from allod.text.template import JinjaChatTemplate
from allod.text.volatile import stable

TEMPLATES = {
    name: JinjaChatTemplate(source, SPECIAL_TOKENS, lambda: datetime(2026, 2, 3, tzinfo=UTC))
    for name, source in FAMILIES.items()
}
SCHEMA = '{"type": "object", "properties": {"x": {"type": "string"}}}'
TOOLS = (Tool("weather", "Tells.", SCHEMA), Tool("now"))
ROLES = ("system", "developer", "user", "assistant", "tool")

identifiers = st.one_of(st.none(), st.sampled_from(["", "1", "2", "abcDEF123", "call_" + "x" * 40]))
names = st.one_of(st.none(), st.sampled_from(["", "weather", "Ann"]))
shapes = st.lists(
    st.tuples(
        st.sampled_from(ROLES),
        st.booleans(),  # has words
        st.lists(identifiers, max_size=3),  # calls
        identifiers,
        names,
    ),
    min_size=1,
    max_size=8,
)


def history(shape: list[tuple[str, bool, list[str | None], str | None, str | None]]) -> tuple[Message, ...]:
    """A history with a word of its own in every message and in every call's arguments."""
    messages: list[Message] = []
    for index, (role, has_words, calls, identifier, name) in enumerate(shape):
        words = f"word{index:03}end" if has_words else ""
        made = tuple(
            ToolCall(call or "", "weather", f'{{"x": "argument{index:03}{number}end"}}')
            for number, call in enumerate(calls)
        )
        is_answer, is_result = role == "assistant", role == "tool"
        messages.append(
            Message(
                role,  # type: ignore[arg-type]
                words,
                name if role in ("user", "tool") else None,
                made if is_answer else (),
                identifier if is_result else None,
            )
        )
    return tuple(messages)


def words_of(messages: tuple[Message, ...]) -> list[str]:
    said = [message.content for message in messages if message.content]
    return said + [call.arguments[7:-2] for message in messages for call in message.tool_calls]


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(shape=shapes, with_tools=st.booleans())
def test_no_word_of_a_history_is_lost_or_doubled(
    name: str, shape: list[tuple[str, bool, list[str | None], str | None, str | None]], with_tools: bool
) -> None:
    """Every message and every call's arguments are in the prompt exactly once, at any place, in any role."""
    messages = history(shape)
    prompt = TEMPLATES[name].render(Conversation(messages, tools=TOOLS if with_tools else ()))
    for word in words_of(messages):
        assert prompt.count(word) == 1, (word, prompt)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("place", range(6))
def test_a_canary_lives_in_any_role_at_any_place(name: str, role: str, place: int) -> None:
    """In a history with calls, results and answers."""
    messages = [
        Message("system", "head"),
        Message("user", "question"),
        Message("assistant", "", tool_calls=(ToolCall("call_1", "weather", '{"x": "Rome"}'),)),
        Message("tool", "sunny", call_identifier="call_1"),
        Message("assistant", "answer"),
        Message("user", "another"),
    ]
    messages.insert(place, Message(role, "canary"))  # type: ignore[arg-type]
    for tools in ((), TOOLS):
        assert TEMPLATES[name].render(Conversation(tuple(messages), tools=tools)).count("canary") == 1


anything = st.text(max_size=20)
wild_messages = st.builds(
    Message,
    role=st.sampled_from(ROLES),
    content=anything,
    name=st.one_of(st.none(), anything),
    tool_calls=st.lists(
        st.builds(ToolCall, anything, anything, st.one_of(anything, st.just('{"a": [1, null]}'))), max_size=3
    ).map(tuple),
    call_identifier=st.one_of(st.none(), anything),
    reasoning=st.one_of(st.none(), anything),
)
wild_tools = st.builds(Tool, anything, anything, st.one_of(st.just("{}"), anything))
wild_conversations = st.builds(
    Conversation,
    messages=st.lists(wild_messages, max_size=6).map(tuple),
    tools=st.lists(wild_tools, max_size=2).map(tuple),
    tool_choice=st.sampled_from(["auto", "none", "required"]),
    thinking=st.one_of(st.none(), st.booleans()),
    template_arguments=st.one_of(st.just("{}"), anything, st.just('{"reasoning_effort": 3}')),
    continue_last=st.booleans(),
)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(conversation=wild_conversations)
@example(conversation=Conversation(()))
def test_anything_is_a_prompt_or_a_refusal(name: str, conversation: Conversation) -> None:
    """No conversation breaks out of `render`, and a refusal names its field and says more than that."""
    refusal: InvalidRequest | None = None
    try:
        TEMPLATES[name].render(stable(conversation, PromptSettings(move_clock_last=True)))
    except InvalidRequest as error:
        refusal = error
    assert refusal is None or refusal.message.startswith(f"{refusal.param}: ")


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "Mistral"])
@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_what_was_said_stays_said(
    name: str, shape: list[tuple[str, bool, list[str | None], str | None, str | None]]
) -> None:
    """A late system message changes nothing before it, so that the prompt's start can be reused.

    Mistral's template itself moves the tools and the system message with every turn.
    """
    base = (Message("system", "head"), *history(shape), Message("user", "question"))
    before = TEMPLATES[name].render(Conversation(base, tools=TOOLS))
    late = (*base, Message("assistant", "answer"), Message("system", "note"), Message("user", "more"))
    after = TEMPLATES[name].render(Conversation(late, tools=TOOLS))
    start = before.index("question")
    assert after[:start] == before[:start]
