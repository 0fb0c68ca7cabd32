"""Laws of every dialect's parser, over its golden corpus."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scaffolding.tool_answers import TOOLS, Case, cases_of, cut, joined, read, shown

from allod.text.markup import CallArguments, CallClosed, CallOpened, Dialect, Piece, Said
from allod.text.tools import (
    deepseek,
    gemma,
    glm,
    granite,
    harmony,
    hermes,
    kimi,
    llama_json,
    minimax,
    minimax_m3,
    mistral,
    phi,
    qwen_xml,
)

DIALECTS = {
    "hermes/answers.txt": hermes.DIALECT,
    "qwen_xml/answers.txt": qwen_xml.DIALECT,
    "llama/answers.txt": llama_json.DIALECT,
    "mistral/answers.txt": mistral.DIALECT,
    "harmony/answers.txt": harmony.DIALECT,
    "glm/answers.txt": glm.DIALECT,
    "deepseek/v3.txt": deepseek.FENCED,
    "deepseek/v31.txt": deepseek.DIALECT,
    "deepseek/dsml.txt": deepseek.DSML,
    "kimi/answers.txt": kimi.DIALECT,
    "minimax/answers.txt": minimax.DIALECT,
    "minimax/m3.txt": minimax_m3.DIALECT,
    "gemma/gemma4.txt": gemma.DIALECT,
    "gemma/functiongemma.txt": gemma.FUNCTION,
    "granite/answers.txt": granite.DIALECT,
    "phi/answers.txt": phi.DIALECT,
}
CASES = [
    pytest.param(dialect, case, id=f"{corpus}: {case.name}")
    for corpus, dialect in DIALECTS.items()
    for case in cases_of(corpus)
]
BY_DIALECT = [
    pytest.param(dialect, [case.text for case in cases_of(corpus)], id=corpus)
    for corpus, dialect in DIALECTS.items()
]

Call = tuple[str, str, bool]


def calls_in(pieces: list[Piece]) -> list[Call]:
    """Name, arguments and whether it has an end, of each call."""
    calls: list[Call] = []
    for piece in pieces:
        match piece:
            case CallOpened(name=name):
                calls.append((name, "", False))
            case CallArguments(text=text):
                calls[-1] = (calls[-1][0], calls[-1][1] + text, False)
            case CallClosed():
                calls[-1] = (*calls[-1][:2], True)
            case _:
                pass
    return calls


def words_in(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Said))


@pytest.mark.parametrize(("dialect", "case"), CASES)
def test_an_answer_comes_to_what_the_corpus_says(dialect: Dialect, case: Case) -> None:
    """The pieces of each answer, joined, are those of the corpus."""
    assert shown(read(dialect, [case.text], complete=case.complete)) == case.comes_to


@pytest.mark.parametrize(("dialect", "case"), CASES)
def test_any_cut_gives_the_same_pieces(dialect: Dialect, case: Case) -> None:
    """An answer in two pieces, cut anywhere, and character by character, comes to the same."""
    whole = read(dialect, [case.text], complete=case.complete)
    for place in range(1, len(case.text)):
        assert read(dialect, cut(case.text, [place]), complete=case.complete) == whole, place
    assert read(dialect, list(case.text), complete=case.complete) == whole


def assert_begins(part: list[Piece], whole: list[Piece], text: str) -> None:
    """Ended calls are the whole's first ones, an open one begins as the whole's does, and so do words.

    Where an answer is cut off, its last character may be the first of a mark; and what is not marked as
    a call, and not yet known to be one, is the answer's own text.
    """
    *before, last = calls_in(part) or [None]
    all_calls = calls_in(whole)
    assert before == all_calls[: len(before)]
    if last is not None:
        name, arguments, ended = all_calls[len(before)]
        assert last[0] == name
        assert last == (name, arguments, ended) if last[2] else arguments.startswith((last[1], last[1][:-1]))
    words = words_in(part).rstrip()
    assert words_in(whole).startswith((words, words[:-1].rstrip())) or (not last and text.startswith(words))


@pytest.mark.parametrize(("dialect", "case"), CASES)
def test_an_answer_that_is_cut_off_says_no_more_than_the_whole(dialect: Dialect, case: Case) -> None:
    """Wherever it is cut off, what comes out is what the whole begins with, and no mark is said."""
    whole = read(dialect, [case.text], complete=True)
    for place in range(len(case.text)):
        part = read(dialect, [case.text[:place]], complete=False)
        assert_begins(part, whole, case.text)
        assert not any(mark in words_in(part) for mark in dialect.marks), place


@pytest.mark.parametrize(("dialect", "case"), CASES)
def test_nothing_that_came_out_is_taken_back(dialect: Dialect, case: Case) -> None:
    """What the beginning of an answer has come to so far is what the whole begins with."""
    whole = read(dialect, [case.text], complete=case.complete)
    for place in range(len(case.text)):
        assert_begins(joined(dialect.parser(TOOLS).feed(case.text[:place])), whole, case.text)


@pytest.mark.parametrize(("dialect", "texts"), BY_DIALECT)
def test_scrambled_answers_do_no_harm(dialect: Dialect, texts: list[str]) -> None:
    """Whatever comes in whatever order and cut: calls begin, go on, end, and the cut plays no part."""
    parts = [part for text in texts for part in cut(text, range(0, len(text), 7))]

    @settings(max_examples=60, deadline=None)
    @given(
        chosen=st.lists(st.sampled_from([*parts, *dialect.marks]), max_size=8),
        places=st.lists(st.integers(0, 200), max_size=12),
        complete=st.booleans(),
    )
    def law(chosen: list[str], places: list[int], complete: bool) -> None:
        text = "".join(chosen)
        whole = read(dialect, [text], complete=complete)
        assert read(dialect, cut(text, places), complete=complete) == whole
        shown(whole)

    law()
