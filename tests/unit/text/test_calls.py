from dataclasses import replace

from allod.core.request import Message
from allod.core.tools import ToolCall
from allod.text.calls import arranged, linked
from allod.text.canonical import canonical
from allod.text.generic_tools import hermes_calls
from allod.text.traits import Traits
from allod.text.turns import turn

ASK, MORE = Message("user", "ask"), Message("user", "more")
FIRST, SECOND = ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}")
BOTH = Message("assistant", "words", tool_calls=(FIRST, SECOND), reasoning="why")
DONE = Message("assistant", "done")


def result(content: str, identifier: str | None = None, name: str | None = None) -> Message:
    return Message("tool", content, name, call_identifier=identifier)


def order(traits: Traits, *messages: Message) -> list[tuple[str, ...]]:
    """Role, words and the identifiers of calls."""
    return [
        (message.role, message.content, *(call.identifier for call in message.tool_calls))
        for message in arranged(linked(messages), traits, hermes_calls)
    ]


def test_results_learn_their_tools_name_from_the_call() -> None:
    """Unless the client named one."""
    turns = linked([ASK, BOTH, result("b", "2"), result("a", "1", "mine")])
    assert [(message.name, message.call_identifier) for message in turns[2:]] == [("g", "2"), ("mine", "1")]


def test_results_without_an_identifier_answer_the_calls_in_turn() -> None:
    """The first result the first call."""
    turns = linked([ASK, BOTH, result("a"), result("b"), result("c")])
    assert [(message.name, message.call_identifier) for message in turns[2:]] == [
        ("f", "1"),
        ("g", "2"),
        ("", None),
    ]


def test_calls_without_identifiers_get_some() -> None:
    """Different ones over the conversation, and the same ones each time it is rendered."""
    nameless = Message("assistant", "", tool_calls=(ToolCall("", "f", "{}"),))
    turns = linked([ASK, nameless, result("a"), nameless, result("b")])
    assert [call.identifier for message in turns for call in message.tool_calls] == ["call00000", "call00001"]
    assert [message.call_identifier for message in turns if message.role == "tool"] == [
        "call00000",
        "call00001",
    ]


def test_a_result_after_other_words_is_a_stray() -> None:
    """Its call is not what the model sees before it; a system message between the two changes nothing."""
    late = linked([ASK, BOTH, MORE, result("a", "1")])
    assert late[-1].call_identifier is None
    assert linked([ASK, BOTH, Message("system", "s"), result("a", "1")])[-1].call_identifier == "1"


def test_strays_become_words() -> None:
    """Where the template does not take them."""
    traits = Traits(tools=True, stray_results=False)
    stray = ("user", "<tool_response>\na\n</tool_response>")
    assert order(traits, result("a"), ASK) == [stray, ("user", "ask")]
    assert order(Traits(tools=True), result("a"), ASK) == [("tool", "a"), ("user", "ask")]


def test_results_become_words_where_the_role_is_unknown() -> None:
    """The calls stay the template's."""
    assert order(Traits(tools=True, results=False), ASK, BOTH, result("a")) == [
        ("user", "ask"),
        ("assistant", "words", "1", "2"),
        ("user", "<tool_response>\na\n</tool_response>"),
    ]


def test_calls_become_words_where_they_are_dropped() -> None:
    """After the words beside them."""
    shown = order(Traits(tools=True, calls=False), ASK, BOTH, result("a"))
    assert shown[1][1].startswith('words\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>')
    assert shown[2] == ("tool", "a")


def test_calls_are_taken_one_by_one_each_with_its_result() -> None:
    """Whatever the order of the results; words and reasoning stay with the first."""
    one = Traits(tools=True, several_calls=False)
    assert order(one, ASK, BOTH, result("b", "2"), result("a", "1"), result("?", "9"), MORE) == [
        ("user", "ask"),
        ("assistant", "words", "1"),
        ("tool", "a"),
        ("assistant", "", "2"),
        ("tool", "b"),
        ("tool", "?"),
        ("user", "more"),
    ]
    reasons = [message.reasoning for message in arranged([BOTH], one, hermes_calls)]
    assert reasons == ["why", None]


def test_identifiers_tell_the_name_where_nothing_else_does() -> None:
    """Numbered over the conversation, as the model that wrote them numbered them."""
    named = Traits(tools=True, identifiers="named")
    turns = arranged(
        linked([ASK, BOTH, result("b", "2"), result("a", "1"), ASK, BOTH, result("?", "9")]),
        named,
        hermes_calls,
    )
    assert [call.identifier for message in turns for call in message.tool_calls] == [
        "functions.f:0",
        "functions.g:1",
        "functions.f:2",
        "functions.g:3",
    ]
    answered = [message.call_identifier for message in turns if message.role == "tool"]
    assert answered == ["functions.g:1", "functions.f:0", "functions."]


def test_calls_that_share_an_identifier_share_the_results_out() -> None:
    """Some models call everything `1`; each result is shown once."""
    twice = replace(BOTH, tool_calls=(FIRST, replace(SECOND, identifier="1")))
    one = Traits(tools=True, several_calls=False)
    assert [turn[1] for turn in order(one, ASK, twice, result("a", "1"), result("b", "1"))] == [
        "ask",
        "words",
        "a",
        "",
        "b",
    ]


def test_calls_in_turns_of_their_own_are_paired_with_their_results_too() -> None:
    """As the Responses API sends them: call, call, result, result."""
    one = Traits(tools=True, several_calls=False)
    turns = [
        ASK,
        replace(BOTH, tool_calls=(FIRST,), content=""),
        replace(BOTH, tool_calls=(SECOND,), content=""),
        result("a", "1"),
        result("b", "2"),
    ]
    roles = [message.role for message in canonical(turns, (), one, hermes_calls)]
    assert roles == ["user", "assistant", "tool", "assistant", "tool"]


def test_calls_that_are_passed_over_get_an_empty_result() -> None:
    """Only where others follow; the last turn may wait."""
    traits = Traits(tools=True, unanswered_calls=False)
    assert order(traits, ASK, BOTH, result("a", "1"), MORE) == [
        ("user", "ask"),
        ("assistant", "words", "1", "2"),
        ("tool", "a"),
        ("tool", ""),
        ("user", "more"),
    ]
    assert order(traits, ASK, BOTH)[-1] == ("assistant", "words", "1", "2")


def test_words_beside_calls_find_another_place() -> None:
    """A turn of their own, or a note in the turn before."""
    apart = order(Traits(tools=True, text_with_calls="apart"), ASK, BOTH)
    assert apart == [("user", "ask"), ("assistant", "words"), ("assistant", "", "1", "2")]
    lost = Traits(tools=True, text_with_calls="lost")
    assert order(lost, ASK, BOTH) == [("user", "ask\n\n[assistant] words"), ("assistant", "", "1", "2")]
    assert order(lost, BOTH) == [("user", "[assistant] words"), ("assistant", "", "1", "2")]
    assert order(lost, ASK, replace(BOTH, content=""), result("a", "1"), BOTH)[2] == (
        "tool",
        "a\n\n[assistant] words",
    )


def test_a_users_words_after_a_result_go_into_it() -> None:
    """Where an answer has to come first."""
    traits = Traits(tools=True, user_after_result=False)
    turns = canonical((ASK, BOTH, result("a", "1"), result("b", "2"), MORE), (), traits, hermes_calls)
    assert [(message.role, message.content) for message in turns[2:]] == [
        ("tool", "a"),
        ("tool", "b\n\nmore"),
    ]


def test_identifiers_are_shortened_for_those_who_count() -> None:
    """To nine letters and digits, the same for a call and its result; those that fit stay."""
    short = Traits(tools=True, identifiers="short")
    call = turn(Message("assistant", "", tool_calls=(FIRST,)), short)["tool_calls"]
    (given,) = call  # type: ignore[misc]
    answer = turn(result("a", "1"), short)
    assert given["id"] == answer["tool_call_id"]
    assert str(answer["tool_call_id"]).isalnum()
    assert len(str(answer["tool_call_id"])) == 9
    assert turn(result("a", "abcDEF123"), short)["tool_call_id"] == "abcDEF123"
    assert turn(result("a", "\ud800"), short)["tool_call_id"] != turn(result("a", "2"), short)["tool_call_id"]
