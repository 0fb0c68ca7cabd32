import pytest

from allod.text.markup import CallArguments, CallClosed, CallOpened, Piece, ReasoningMarks, Said, Thought
from allod.text.parse import PlainParser, joined
from allod.text.reasoning import ReasoningParser, find_marks
from allod.text.tools import hermes

MARKS = ReasoningMarks("<think>", "</think>")


def read(text: str, *, inside: bool = False, complete: bool = True) -> list[Piece]:
    parser = ReasoningParser(MARKS, hermes.DIALECT.parser(()), starts_inside=inside)
    pieces = [piece for character in text for piece in parser.feed(character)]
    pieces += parser.flush(complete=complete)
    assert parser.held_chars == 0
    return joined(pieces)


CASES: list[tuple[str, bool, list[Piece]]] = [
    ("<think>\nHm.\n</think>\n\nYes.", False, [Thought("Hm."), Said("Yes.")]),
    ("Hm.\n</think>\n\nYes.", True, [Thought("Hm."), Said("Yes.")]),
    ("<think>\nHm.</think>Yes.", True, [Thought("Hm."), Said("Yes.")]),
    ("<think>\n\n</think>\n\nYes.", False, [Said("Yes.")]),
    ("<think>\n\n</think>\n\n  Yes.\n", False, [Said("  Yes.\n")]),
    ("\n Yes.", False, [Said("\n Yes.")]),
    ("<think>One</think>\n<think>Two</think>Yes.", False, [Thought("OneTwo"), Said("Yes.")]),
    ("Write <think> and </think>.", False, [Said("Write <think> and </think>.")]),
    ("<think>Hm <tool_call> then", False, [Thought("Hm <tool_call> then")]),
    (
        '<think>Or <tool_call>{"name": "g"}</tool_call>?</think>\n\n<tool_call>{"name": "f"}</tool_call>',
        False,
        [
            Thought('Or <tool_call>{"name": "g"}</tool_call>?'),
            CallOpened("f"),
            CallArguments("{}"),
            CallClosed(),
        ],
    ),
]


@pytest.mark.parametrize(("text", "inside", "pieces"), CASES)
def test_thoughts_are_told_from_words(text: str, inside: bool, pieces: list[Piece]) -> None:
    """What stands between the marks at the answer's start is thought, and calls in it are none."""
    assert read(text, inside=inside) == pieces


def test_a_mark_that_is_cut_off_is_not_shown() -> None:
    """Neither as thought nor as words."""
    assert read("<think>Hm</thi", complete=False) == [Thought("Hm")]


def test_held_text_of_both_parsers_counts() -> None:
    """What either may still turn into markup is held."""
    parser = ReasoningParser(MARKS, PlainParser(), starts_inside=False)
    parser.feed("<thi")
    assert parser.held_chars == 4
    parser = ReasoningParser(MARKS, hermes.DIALECT.parser(()), starts_inside=False)
    parser.feed("Hm <tool")
    assert parser.held_chars == 6


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        ("{% if '</think>' in content %}", "<think>"),
        ("{{ '<seed:think>' + reasoning + '</seed:think>' }}", "<seed:think>"),
        ("{{ '[THINK]' + block['thinking'] + '[/THINK]' }}", "[THINK]"),
        ("◁think▷{{ reasoning }}◁/think▷", "◁think▷"),
        (r"{{ '<|channel>thought\n' + thinking_text + '\n<channel|>' }}", "<|channel>thought"),
    ],
)
def test_a_template_tells_its_marks(template: str, opening: str) -> None:
    """The marks that a template writes or cuts out are those of the model."""
    marks = find_marks(template)
    assert marks is not None
    assert marks.opening == opening


def test_a_template_without_marks_has_none() -> None:
    """Harmony's channels are read by its dialect."""
    assert find_marks("<|start|>assistant<|channel|>analysis<|message|>") is None
