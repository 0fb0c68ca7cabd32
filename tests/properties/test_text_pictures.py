"""Any history with pictures reaches the model whole: every word and every picture, once."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scaffolding.chat_templates import FAMILIES, SPECIAL_TOKENS, VISION

from allod.core.pictures import Picture, mark_of, marks_in
from allod.core.request import Conversation, Message
from allod.core.tools import Tool, ToolCall
from allod.text.template import JinjaChatTemplate

SOURCES = {name: (source, "") for name, (source, _) in VISION.items()} | {
    f"{name}, by a word": (source, "<image>") for name, source in FAMILIES.items() if name != "parts"
}
TEMPLATES = {
    name: JinjaChatTemplate(
        source, SPECIAL_TOKENS, lambda: datetime(2026, 2, 3, tzinfo=UTC), picture_word=word
    )
    for name, (source, word) in SOURCES.items()
}
TOOLS = (Tool("camera", "Looks.", '{"type": "object", "properties": {"x": {"type": "string"}}}'), Tool("now"))
ROLES = ("system", "developer", "user", "assistant", "tool")

shapes = st.lists(
    st.tuples(
        st.sampled_from(ROLES),
        st.text("wpf", max_size=5),  # words, pictures and the form as a word
        st.integers(0, 2),  # calls
        st.sampled_from([None, "", "1", "2"]),
    ),
    min_size=1,
    max_size=8,
)
Shape = list[tuple[str, str, int, str | None]]


def conversation(shape: Shape, form: str, *, with_tools: bool) -> Conversation:
    """Every message with words of its own, pictures in the order of the messages."""
    messages: list[Message] = []
    count = 0
    for index, (role, pieces, calls, identifier) in enumerate(shape):
        content = "" if pieces or calls or role != "assistant" else "-"  # Mistral's refuses an empty answer
        for place, kind in enumerate(pieces):
            if kind == "p":
                content += mark_of(count)
                count += 1
            else:
                content += form if kind == "f" else f"word{index:03}{place}end"
        made = tuple(
            ToolCall(str(number + 1), "camera", f'{{"x": "call{index:03}{number}end"}}')
            for number in range(calls)
        )
        messages.append(
            Message(
                role,  # type: ignore[arg-type]
                content,
                tool_calls=made if role == "assistant" else (),
                call_identifier=identifier if role == "tool" else None,
            )
        )
    pictures = tuple(Picture(b"", f"pictures[{index}]") for index in range(count))
    return Conversation(tuple(messages), tools=TOOLS if with_tools else (), pictures=pictures)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(shape=shapes, with_tools=st.booleans())
def test_no_picture_and_no_word_is_lost_or_doubled(name: str, shape: Shape, with_tools: bool) -> None:
    """In any role, at any place, beside any words, those of the form among them."""
    template = TEMPLATES[name]
    asked = conversation(shape, template.picture_form, with_tools=with_tools)
    prompt = template.render(asked)
    assert sorted(marks_in(prompt)) == list(range(len(asked.pictures)))
    forms = sum(message.content.count(template.picture_form) for message in asked.messages)
    assert prompt.count(template.picture_form) == forms
    for index, (_, pieces, _, _) in enumerate(shape):
        for place, kind in enumerate(pieces):
            assert kind != "w" or prompt.count(f"word{index:03}{place}end") == 1, prompt


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_a_users_pictures_keep_their_order(name: str, shape: Shape) -> None:
    """Whatever is between their turns; a template may put a turn's pictures before its words."""
    only_users = [
        (role, pieces if role == "user" else pieces.replace("p", "w"), calls, identifier)
        for role, pieces, calls, identifier in shape
    ]
    asked = conversation(only_users, "form", with_tools=True)
    assert marks_in(TEMPLATES[name].render(asked)) == tuple(range(len(asked.pictures)))
