from allod.text.markup import CallArguments, CallClosed, CallOpened, Piece, Said
from allod.text.parse import AnswerParser, PlainParser
from allod.text.tools import hermes

CALL = '<tool_call>{"name": "%s", "arguments": %s}</tool_call>'


def read(text: str, *, single_call: bool = False) -> tuple[list[Piece], int]:
    parser = AnswerParser(hermes.DIALECT.parser(()), single_call=single_call)
    pieces = parser.feed(text)
    return pieces + parser.flush(complete=True), parser.failures


def test_neighbours_of_a_feed_are_one_piece() -> None:
    """A call's arguments come as one piece for one feed."""
    assert read(CALL % ("f", '{"a": [1, 2]}'))[0] == [
        CallOpened("f"),
        CallArguments('{"a": [1, 2]}'),
        CallClosed(),
    ]


def test_arguments_that_are_no_json_leave_the_call_open_for_ever() -> None:
    """Nothing follows a call that broke, and it counts as a failure."""
    pieces, failures = read(CALL % ("f", '{"a" 1}') + CALL % ("g", "{}") + "words")
    assert pieces == [CallOpened("f"), CallArguments('{"a" 1}')]
    assert failures == 1


def test_only_the_first_call_is_passed_on_when_one_is_allowed() -> None:
    """Further calls are left out; words are not."""
    pieces, failures = read(CALL % ("f", "{}") + CALL % ("g", "{}") + "words", single_call=True)
    assert pieces == [CallOpened("f"), CallArguments("{}"), CallClosed(), Said("words")]
    assert failures == 0


def test_a_malformed_call_is_words_without_its_marks() -> None:
    """What was never a call is shown, and counted."""
    assert read("<tool_call>later</tool_call>") == ([Said("later")], 1)


def test_an_answer_without_markup_is_words() -> None:
    """The plain parser changes nothing and holds nothing."""
    parser = PlainParser()
    assert parser.feed(" <tool_call> ") == [Said(" <tool_call> ")]
    assert parser.feed("") == []
    assert parser.flush(complete=False) == []
    assert parser.held_chars == 0
