import pytest

from allod.core.request import Message
from allod.core.tools import Tool, ToolCall
from allod.text.canonical import canonical
from allod.text.generic_tools import hermes_calls
from allod.text.traits import Traits

A, B, C = Message("user", "A"), Message("user", "B"), Message("user", "C")
YES = Message("assistant", "yes")
SYSTEM, OTHER = Message("system", "S"), Message("system", "T")
STRICT = Traits(
    system="never",
    several_systems=False,
    late_systems=False,
    opens_with_answer=False,
    lives_without_user=False,
    repeats=frozenset(),
)


def order(traits: Traits, *messages: Message) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in canonical(messages, (), traits, hermes_calls)]


def test_what_a_template_takes_is_left_alone() -> None:
    """Nothing is changed for its own sake."""
    turns = [SYSTEM, OTHER, YES, A, B, YES, YES, SYSTEM, C]
    assert canonical(turns, (), Traits(), hermes_calls) == turns


def test_a_developer_speaks_as_the_system_unless_it_is_known() -> None:
    """At any place."""
    turns = (Message("developer", "S"), A)
    assert order(Traits(), *turns) == [("system", "S"), ("user", "A")]
    assert order(Traits(developer=True), *turns) == [("developer", "S"), ("user", "A")]


def test_system_messages_at_the_start_become_one() -> None:
    """Where only one is taken."""
    traits = Traits(several_systems=False)
    assert order(traits, SYSTEM, OTHER, A) == [("system", "S\n\nT"), ("user", "A")]
    developers = (Message("developer", "S"), OTHER, A)
    assert order(Traits(several_systems=False, developer=True), *developers)[0] == ("system", "S\n\nT")
    assert order(Traits(several_systems=False, developer=True), *developers[::2])[0] == ("developer", "S")


def test_a_system_message_nobody_takes_opens_the_first_question() -> None:
    """Or is one, where there is none to open."""
    assert order(STRICT, SYSTEM, OTHER, A, YES) == [("user", "S\n\nT\n\nA"), ("assistant", "yes")]
    assert order(STRICT, SYSTEM, YES) == [("user", "S"), ("assistant", "yes")]
    assert order(STRICT, SYSTEM) == [("user", "S")]


def test_a_system_message_shown_only_before_a_question_goes_into_it_elsewhere() -> None:
    """Mistral's templates write it into the last message if that is a user's, and else forget it."""
    traits = Traits(system="before_user", several_systems=False)
    assert order(traits, SYSTEM, A) == [("system", "S"), ("user", "A")]
    assert order(traits, SYSTEM, A, YES) == [("user", "S\n\nA"), ("assistant", "yes")]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((A, SYSTEM), [("user", "A\n\n[system] S")]),
        ((A, SYSTEM, OTHER, B), [("user", "A\n\n[system] S\n\n[system] T"), ("user", "B")]),
        ((A, YES, SYSTEM, B), [("user", "A"), ("assistant", "yes"), ("user", "[system] S\n\nB")]),
        ((A, YES, SYSTEM), [("user", "A"), ("assistant", "yes"), ("user", "[system] S")]),
    ],
)
def test_a_late_system_message_becomes_words_of_the_user(
    turns: tuple[Message, ...], expected: list[tuple[str, str]]
) -> None:
    """It joins the neighbour before it, or else the one after; the head of the prompt stays as it is."""
    assert order(Traits(late_systems=False), *turns) == expected


def test_a_late_system_message_does_not_part_a_call_from_its_result() -> None:
    """Templates look for the call directly before."""
    traits = Traits(tools=True, late_systems=False)
    call = Message("assistant", "", tool_calls=(ToolCall("1", "f", "{}"),))
    result = Message("tool", "r", call_identifier="1")
    assert order(traits, A, call, SYSTEM, result, OTHER) == [
        ("user", "A"),
        ("assistant", ""),
        ("tool", "r"),
        ("user", "[system] S\n\n[system] T"),
    ]


def test_a_system_message_that_is_shown_in_its_place_does_not_part_them_either() -> None:
    """Gemma 4's template looks for results right behind the call, and drops the others."""
    call = Message("assistant", "", tool_calls=(ToolCall("1", "f", "{}"),))
    turns = (A, call, SYSTEM, Message("tool", "r", call_identifier="1"))
    for parted, roles in ((True, ["system", "tool"]), (False, ["tool", "system"])):
        traits = Traits(tools=True, parted_results=parted)
        assert [role for role, _ in order(traits, *turns)][2:] == roles


def test_a_stray_result_does_not_part_a_call_from_its_result() -> None:
    """It comes behind, where the template wants them side by side."""
    call = Message("assistant", "", tool_calls=(ToolCall("1", "f", "{}"),))
    turns = (A, call, Message("tool", "s", call_identifier="x"), Message("tool", "r", call_identifier="1"))
    words = "<tool_response>\ns\n</tool_response>"
    for parted, said in ((True, [words, "r"]), (False, ["r", words])):
        traits = Traits(tools=True, stray_results=False, parted_results=parted)
        assert [content for _, content in order(traits, *turns)][2:] == said


def test_neither_do_a_stray_and_a_system_message_together() -> None:
    """The system message moves behind the results before the stray is looked for, or the stray stays."""
    first, second = ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}")
    call = Message("assistant", "", tool_calls=(first, second))
    results = [
        Message("tool", text, call_identifier=name) for text, name in (("r", "1"), ("s", "1"), ("t", "2"))
    ]
    traits = Traits(tools=True, stray_results=False, parted_results=False)
    said = [content for _, content in order(traits, A, call, *results[:2], SYSTEM, results[2])]
    assert said[2:] == ["r", "t", "<tool_response>\ns\n</tool_response>", "S"]


def test_turns_of_one_role_are_joined_where_roles_must_alternate() -> None:
    """Empty ones leave no trace."""
    assert order(STRICT, A, Message("user", ""), B, YES, YES, C) == [
        ("user", "A\n\nB"),
        ("assistant", "yes\n\nyes"),
        ("user", "C"),
    ]


def test_a_joined_turn_keeps_a_name_only_if_both_have_it() -> None:
    """Two people's words are nobody's."""
    ann, bob = Message("user", "A", "Ann"), Message("user", "B", "Bob")
    assert canonical((ann, ann), (), STRICT, hermes_calls)[0].name == "Ann"
    assert canonical((ann, bob), (), STRICT, hermes_calls)[0].name is None


def test_joined_answers_keep_their_reasoning() -> None:
    """In its order."""
    first, second = Message("assistant", "a", reasoning="r"), Message("assistant", "b", reasoning="s")
    assert canonical((A, first, second), (), STRICT, hermes_calls)[1].reasoning == "r\n\ns"


def test_an_answer_that_opens_gets_a_question() -> None:
    """An empty one, after the head."""
    assert order(STRICT, YES, A) == [("user", ""), ("assistant", "yes"), ("user", "A")]
    traits = Traits(opens_with_answer=False)
    assert order(traits, SYSTEM, YES) == [("system", "S"), ("user", ""), ("assistant", "yes")]
    assert order(traits, SYSTEM) == [("system", "S")]
    assert order(Traits(lives_without_user=False), SYSTEM) == [("system", "S"), ("user", "")]
    assert order(Traits(lives_without_user=False), YES, A) == [("assistant", "yes"), ("user", "A")]


def test_tools_that_go_into_the_first_question_get_one() -> None:
    """Llama's templates take whatever comes first for it; without tools nothing is needed."""
    traits = Traits(tools=True, tools_need_question=True)
    with_tools = canonical((SYSTEM, YES, A), (Tool("f"),), traits, hermes_calls)
    assert [message.content for message in with_tools] == ["S", "", "yes", "A"]
    assert order(traits, SYSTEM, YES, A) == [("system", "S"), ("assistant", "yes"), ("user", "A")]
