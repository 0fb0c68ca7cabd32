"""Pictures through chat templates: what a template writes for one, and where the prompt has their marks."""

from datetime import UTC, datetime

import pytest
from tests.scaffolding.chat_templates import (
    CHATML,
    FAMILIES,
    GEMMA,
    GEMMA3,
    GEMMA4,
    GPT_OSS,
    INTERNVL,
    LLAMA4,
    LLAMA32_VISION,
    LLAVA,
    MISTRAL,
    MISTRAL_SMALL,
    PARTS,
    QWEN3,
    QWEN_VL,
    SMOLVLM,
    SPECIAL_TOKENS,
    VISION,
)

from allod.core.errors import InvalidRequest
from allod.core.pictures import Picture, mark_of, marks_in, pieces_of
from allod.core.request import Conversation, Message
from allod.core.tools import Tool, ToolCall
from allod.text.template import JinjaChatTemplate

A, B, C = mark_of(0), mark_of(1), mark_of(2)
TOOL = Tool("camera", "Looks.", '{"type": "object", "properties": {"at": {"type": "string"}}}')
CALL = Message("assistant", "", tool_calls=(ToolCall("call_1", "camera", '{"at": "door"}'),))
RESULT = Message("tool", f"seen {A} and {B}", call_identifier="call_1")
BRIEF, WHAT, CAT = Message("system", "Be brief."), Message("user", "What?"), Message("assistant", "A cat.")


def template(source: str, tool_source: str | None = None, *, word: str = "") -> JinjaChatTemplate:
    return JinjaChatTemplate(
        source, SPECIAL_TOKENS, lambda: datetime(2026, 2, 3, tzinfo=UTC), tool_source, picture_word=word
    )


def pictures(count: int) -> tuple[Picture, ...]:
    return tuple(Picture(b"", f"messages[0].content[{index}]") for index in range(count))


def conversation(*messages: Message, **fields: object) -> Conversation:
    count = sum(len(marks_in(message.content)) for message in messages)
    return Conversation(messages, pictures=pictures(count), **fields)  # type: ignore[arg-type]


def rendered(source: str, *messages: Message, **fields: object) -> str:
    return template(source).render(conversation(*messages, **fields))


def expected(source: str, *messages: Message) -> str:
    """What Hugging Face renders, pictures as parts."""
    chat_template_utils = pytest.importorskip("transformers.utils.chat_template_utils")
    (text,), _ = chat_template_utils.render_jinja_template(
        [[{"role": message.role, "content": content(message, source)} for message in messages]],
        chat_template=source,
        add_generation_prompt=True,
        **SPECIAL_TOKENS,
    )
    return text


def content(message: Message, source: str) -> object:
    if not marks_in(message.content) and source not in (SMOLVLM, LLAVA, PARTS):
        return message.content
    return [
        {"type": "text", "text": piece} if isinstance(piece, str) else {"type": "image"}
        for piece in pieces_of(message.content)
    ]


@pytest.mark.parametrize(("source", "form"), VISION.values(), ids=VISION)
def test_what_a_template_writes_for_a_picture_is_found_out(source: str, form: str) -> None:
    """By canaries; spaces, line breaks and numbers around it belong to the prompt."""
    assert template(source).picture_form == form


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "parts"])
def test_a_template_that_shows_none_has_no_form(name: str) -> None:
    """Unless the family has a word for it."""
    assert template(FAMILIES[name]).picture_form == ""
    assert template(FAMILIES[name], word="<image>").picture_form == "<image>"


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
        "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{% endfor %}",
        "{% for m in messages %}{% for p in m.content %}{{ p.type }} {{ p.text }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' %}<|image_{{ loop.index }}|>"
        "{% else %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}",
        "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}"
        "{% endfor %}{% endfor %}",
        "{% for m in messages %}{{ m.content if m.content is string else '<image>' }}{% endfor %}",
    ],
)
def test_a_picture_that_is_printed_is_not_shown(source: str) -> None:
    """As Python, as JSON, by its type, with a number inside, not at all, or one for all is no form."""
    assert template(source).picture_form == ""


@pytest.mark.parametrize(
    ("source", "form"),
    [
        ("{% for p in m.content if p.type == 'image' %}<|a|><|b|>{% endfor %}<|c|>", "<|a|><|b|>"),
        ("{% for p in m.content if p.type == 'image' %}<|image|>{% endfor %}<|i_end|>", "<|image|>"),
        (
            "{% for p in m.content if p.type == 'image' %}(<image>./</image>)\n{% endfor %}",
            "(<image>./</image>)",
        ),
        ("{% for p in m.content if p.type == 'image' %}\n\n<|image|>\n\n{% endfor %}", "<|image|>"),
        (
            "{% for p in m.content if p.type == 'image' %}{{ '' if loop.first else ', ' }}[IMG]{% endfor %}",
            "[IMG]",
        ),
    ],
)
def test_neighbours_do_not_blur_the_form(source: str, form: str) -> None:
    """Words first and pictures last, where the next mark begins as the form does."""
    words = (
        "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content | map(attribute='text') | join }}"
    )
    whole = "{% for m in messages %}" + words + source + "{% endif %}{% endfor %}"
    assert template(whole).picture_form == form


@pytest.mark.parametrize(("source", "form"), VISION.values(), ids=VISION)
@pytest.mark.parametrize(
    "turns",
    [
        (Message("user", f"Look {A} here {B}\n!"),),
        (Message("user", A),),
        (Message("user", f"{A}{B}What?"),),
        (Message("user", f"Which? {A}"), CAT, Message("user", f"{B} this {C}")),
    ],
)
def test_prompts_are_what_transformers_renders(source: str, form: str, turns: tuple[Message, ...]) -> None:
    """With a mark for each picture in the place of its form."""
    prompt = rendered(source, *turns)
    for mark in (A, B, C):
        prompt = prompt.replace(mark, form)
    assert prompt == expected(source, *turns)


def test_marks_stand_in_the_place_of_the_form() -> None:
    """Whatever the template writes, and however it treats the words beside it."""
    turn = Message("user", f"Is {A} like {B}?")
    assert "user\nIs " + A + " like " + B + "?<|im_end|>" in rendered(QWEN_VL, turn)
    assert "user\nIs" + A + "like" + B + "?<end_of_turn>" in rendered(GEMMA3, turn)
    assert f"User:{A}What?<end_of_utterance>" in rendered(SMOLVLM, Message("user", f"{A}What?"))
    assert rendered(LLAVA, turn) == f"USER: {A}\n{B}\nIs   like  ? ASSISTANT:"
    assert f"[INST]{A}What?[/INST]" in rendered(MISTRAL_SMALL, Message("user", f"What?{A}"))
    assert f"user\n{A}\nWhat?<|im_end|>" in rendered(INTERNVL, Message("user", f"{A}What?"))
    numbered = rendered(QWEN_VL, turn, template_arguments='{"add_vision_id": true}')
    assert f"Is Picture 1: {A} like Picture 2: {B}?" in numbered


@pytest.mark.parametrize(("source", "form"), VISION.values(), ids=VISION)
def test_the_form_in_a_users_words_is_no_picture(source: str, form: str) -> None:
    """It comes out as it was written, beside a picture and in other turns, in names and in calls too."""
    call = ToolCall("call_1", "camera", '{"at": "' + form + '"}')
    turns = (
        Message("user", f"{form}a{form}{A}{form}\ue000"),
        Message("assistant", f"no {form}"),
        Message("user", f"so {form} {B}"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", f"saw {form}", call_identifier="call_1"),
    )
    prompt = rendered(source, *turns, tools=(Tool("camera", f"Sees {form}."),))
    assert marks_in(prompt) == (0, 1)
    assert prompt.count(form) == (7 if source == GEMMA4 else 8)  # which leaves the description out
    assert prompt.count("\ue000") == 1
    assert len([mark for mark in prompt if "\ue000" <= mark < "\uf900"]) == 1


def test_parts_of_a_form_are_words() -> None:
    """A placeholder alone is not the form."""
    prompt = rendered(QWEN_VL, Message("user", f"<|image_pad|>{A}<|vision_start|>"))
    assert f"<|image_pad|>{A}<|vision_start|>" in prompt


@pytest.mark.parametrize("source", [CHATML, QWEN3, LLAVA, QWEN_VL])
def test_without_pictures_a_mark_is_a_users_word(source: str) -> None:
    """Whoever types these two characters sees them come out as any others."""
    text = f"odd {A} words {B}"
    assert text in template(source).render(Conversation((Message("user", text),)))
    note = template(source).render(Conversation((Message("system", text), WHAT)))
    assert text in note


def test_a_word_for_pictures_stands_in_a_users_text() -> None:
    """Content stays a string, with the marks in it; elsewhere the picture moves to a user's turn."""
    phi = template(CHATML, word="<|image_1|>\n")
    text = phi.render(conversation(Message("system", f"See {C}"), Message("user", f"<image>{A}a\n{B}")))
    assert f"user\n<image>{A}a\n{B}<|im_end|>" in text
    assert (
        f"system\nSee [picture 1]<|im_end|>\n<|im_start|>user\nPicture 1 of the system's message:{C}" in text
    )
    listed = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}|{% endfor %}"
    assert template(listed, word="<i>").render(conversation(Message("user", f"a{A}b"))) == f"a{A}b|"


def test_the_template_for_tools_has_a_form_of_its_own() -> None:
    """Marks are marks; where it shows no pictures, they stand as words."""
    for tool_source in (QWEN_VL, QWEN3):
        both = template(LLAVA, tool_source)
        assert both.picture_form == "<image>"
        prompt = both.render(conversation(Message("user", f"a{A}b"), tools=(TOOL,)))
        assert f"user\na{A}b<|im_end|>" in prompt
    assert template(CHATML, QWEN_VL).picture_form == VISION["Qwen-VL"][1]


@pytest.mark.parametrize("source", [QWEN_VL, GEMMA4])
def test_a_result_keeps_pictures_that_are_shown(source: str) -> None:
    """Gemma's template puts them behind the result's words, still in their order."""
    prompt = rendered(source, WHAT, CALL, RESULT, tools=(TOOL,))
    assert marks_in(prompt) == (0, 1)
    assert "[picture" not in prompt


@pytest.mark.parametrize("source", [LLAMA4, MISTRAL_SMALL])
def test_pictures_that_a_result_does_not_show_follow_it(source: str) -> None:
    """In a user's turn after all results, numbered; the result says which stood where."""
    other = Message("tool", f"and {C}", call_identifier="call_2")
    calls = (*CALL.tool_calls, ToolCall("call_2", "camera", "{}"))
    turns = (WHAT, Message("assistant", "", tool_calls=calls), RESULT, other, Message("user", "So?"))
    prompt = rendered(source, *turns, tools=(TOOL,))
    assert prompt.index("seen [picture 1] and [picture 2]") < prompt.index("and [picture 3]")
    captions = [f"Picture {number} of the tool's result:" for number in (1, 2, 3)]
    places = [prompt.index(f"{caption}{mark}") for caption, mark in zip(captions, (A, B, C), strict=True)]
    assert prompt.index("[picture 3]") < places[0] < places[1] < places[2] < prompt.index("So?")


def test_where_no_user_may_follow_a_result_the_assistant_speaks_first() -> None:
    """Mistral's template refuses that, and shows no picture in a result; words alone go into it."""
    seen = rendered(MISTRAL_SMALL, WHAT, CALL, RESULT, tools=(TOOL,))
    assert f"[/TOOL_RESULTS]Let me look at the picture.</s>[INST]Picture 1 of the tool's result:{A}" in seen
    plain = (WHAT, CALL, Message("tool", "seen", call_identifier="call_1"))
    shown = rendered(MISTRAL_SMALL, *plain, Message("user", f"And {A}?"), tools=(TOOL,))
    assert f"[TOOL_RESULTS]seen[/TOOL_RESULTS]Let me look at the picture.</s>[INST]And {A}?" in shown
    words = rendered(MISTRAL_SMALL, Message("user", A), *plain[1:], Message("user", "And?"), tools=(TOOL,))
    assert "[TOOL_RESULTS]seen\n\nAnd?[/TOOL_RESULTS]" in words


@pytest.mark.parametrize("source", [GEMMA3, SMOLVLM, GEMMA])
def test_results_in_words_keep_their_pictures(source: str) -> None:
    """A `<tool_response>` block stands in a user's turn."""
    it = template(source, word="<image>")
    prompt = it.render(conversation(WHAT, CALL, RESULT, tools=(TOOL,)))
    assert marks_in(prompt) == (0, 1)
    assert "[picture" not in prompt


def test_an_assistants_pictures_come_before_it() -> None:
    """So that its last words can be continued."""
    turns = (WHAT, Message("assistant", f"See {A} or {B}: a"))
    prompt = rendered(MISTRAL_SMALL, *turns, continue_last=True)
    captions = f"Picture 1 of the assistant's turn:{A}\n\nPicture 2 of the assistant's turn:{B}"
    assert prompt.endswith(f"[INST]What?\n\n{captions}[/INST]See [picture 1] or [picture 2]: a")
    shown = rendered(QWEN_VL, *turns, continue_last=True)
    assert shown.endswith(f"assistant\nSee {A} or {B}: a")


@pytest.mark.parametrize("source", [QWEN_VL, GEMMA3, GEMMA4, MISTRAL_SMALL, LLAMA4, LLAMA32_VISION, GEMMA])
def test_the_systems_pictures_open_the_first_question(source: str) -> None:
    """Where its message does not show them."""
    it = template(source, word="<image>")
    prompt = it.render(conversation(Message("system", f"Seek {A}"), Message("user", f"amid {B}")))
    assert marks_in(prompt) == (0, 1)
    assert prompt.index("Seek") < prompt.index(A) < prompt.index("amid") < prompt.index(B)


def test_a_system_message_that_may_not_stand_beside_pictures_opens_the_question() -> None:
    """Llama 3.2's template refuses the two together; without pictures all is as ever."""
    prompt = rendered(LLAMA32_VISION, BRIEF, Message("user", f"What is {A}?"))
    assert f"user<|end_header_id|>\n\nBe brief.\n\nWhat is {A}?<|eot_id|>" in prompt
    assert "system<|end_header_id|>\n\nBe brief." in rendered(LLAMA32_VISION, BRIEF, WHAT)


def test_a_late_systems_picture_stands_where_its_note_does() -> None:
    """In the user's turn beside it, or where the template shows late systems, in the turn after."""
    late = (WHAT, CAT, Message("system", f"Now {A}"), Message("user", "Go."))
    assert f"[system] Now {A}\n\nGo." in rendered(QWEN_VL, *late)
    prompt = rendered(LLAMA4, *late)
    assert prompt.count(A) == 1
    between = (WHAT, CALL, Message("system", f"Now {C}"), RESULT, CAT)
    assert marks_in(rendered(LLAMA4, *between, tools=(TOOL,))) in {(2, 0, 1), (0, 1, 2)}


def test_a_template_without_pictures_refuses_them() -> None:
    """By the field of the picture, with the way out."""
    for source in (CHATML, MISTRAL, GPT_OSS):
        with pytest.raises(InvalidRequest, match="cannot show pictures") as caught:
            rendered(source, Message("user", f"a{A}"))
        assert caught.value.param == "messages[0].content[0]"
        assert caught.value.message.startswith("messages[0].content[0]: ")


def test_a_picture_that_gets_lost_is_a_refusal() -> None:
    """Dropped by the template in some turn, or missing in the messages."""
    first_only = (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
        "{% if p.type == 'text' %}{{ p.text }}{% elif loop.length < 9 %}<image>{% endif %}"
        "{% endfor %}{% endif %}{% endfor %}"
    )
    assert rendered(first_only, Message("user", f"a{A}")) == f"a{A}"
    crowd = Message("user", "".join(f"a{mark_of(index)}" for index in range(5)))
    with pytest.raises(InvalidRequest, match="does not show this picture") as caught:
        rendered(first_only, crowd)
    assert caught.value.param == "messages[0].content[0]"
    for text, lost in ((f"a{A}", 1), (f"{B}", 0), ("a", 0)):
        with pytest.raises(InvalidRequest, match="does not show this picture") as caught:
            template(PARTS).render(Conversation((Message("user", text),), pictures=pictures(2)))
        assert caught.value.param == f"messages[0].content[{lost}]"


@pytest.mark.parametrize(("source", "word"), [(QWEN_VL, ""), (CHATML, "<image>")])
@pytest.mark.parametrize("text", [A, C])
def test_a_mark_typed_beside_a_picture_is_a_refusal(source: str, word: str, text: str) -> None:
    """Nobody can tell which is the picture; wherever it was typed."""
    turns = ((Message("user", f"a{A}{text}"),), (Message("user", A), Message("assistant", text), WHAT))
    for messages in turns:
        with pytest.raises(InvalidRequest, match="stand for a picture") as caught:
            template(source, word=word).render(Conversation(messages, pictures=pictures(1)))
        assert caught.value.param == "messages"


def test_the_templates_refusal_beside_pictures_names_the_message() -> None:
    """The message at fault is found with the pictures in place."""
    with pytest.raises(InvalidRequest, match="chat template refuses") as caught:
        rendered(
            "{% for m in messages %}{% for p in m.content %}"
            "{% if p.text == 'x' %}{{ raise_exception('No x') }}{% elif p.type == 'image' %}<image>"
            "{% else %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}",
            Message("user", f"a{A}"),
            CAT,
            Message("user", "x"),
        )
    assert caught.value.param == "messages[2]"
