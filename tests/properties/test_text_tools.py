"""Laws of reading markup: the scanner, reasoning, the guard, and what holds for every dialect."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from tests.scaffolding.tool_answers import TOOLS, cut

from allod.text.dialects import ALL
from allod.text.markup import (
    CallArguments,
    CallClosed,
    CallOpened,
    Dialect,
    Piece,
    ReasoningMarks,
    Said,
    Thought,
)
from allod.text.parse import AnswerParser, PlainParser, is_json_object, joined
from allod.text.reasoning import ReasoningParser
from allod.text.scan import Reader, ScriptParser, Steps
from allod.text.scan_json import json_value
from allod.text.tools import harmony, hermes
from allod.text.tools.literal import read_literal

MARKS = ("<a>", "<ab", "[x]", "]]")
THINK = ReasoningMarks("<think>", "</think>")
each_dialect = pytest.mark.parametrize("dialect", [pytest.param(one, id=one.name) for one in ALL])

texts = st.text('<>/ab[x] \n{}":', max_size=30)
places = st.lists(st.integers(0, 40), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(st.text(), values, max_size=4)


def run(
    parser: ScriptParser | ReasoningParser | AnswerParser, parts: list[str], *, complete: bool
) -> list[Piece]:
    pieces = [piece for part in parts for piece in parser.feed(part)]
    return joined([*pieces, *parser.flush(complete=complete)])


def split_at_marks(reader: Reader) -> Steps[None]:
    while mark := (yield from reader.until(*MARKS, sink=reader.say)):
        reader.think(mark)


@given(text=texts, cuts=places)
def test_until_finds_what_a_scan_of_the_whole_text_finds(text: str, cuts: list[int]) -> None:
    """The first mark from the left, then the next: the same for any cut, and nothing is lost."""
    pieces = run(ScriptParser(split_at_marks), cut(text, cuts), complete=True)
    expected = [part for part in re.split("(" + "|".join(map(re.escape, MARKS)) + ")", text) if part]
    marks = [piece.text for piece in pieces if isinstance(piece, Thought)]
    assert "".join(piece.text for piece in pieces if isinstance(piece, Said | Thought)) == text
    assert "".join(marks) == "".join(part for part in expected if part in MARKS)


@given(text=texts)
def test_until_holds_back_only_what_can_become_a_mark(text: str) -> None:
    """What is held is the beginning of a mark."""
    parser = ScriptParser(split_at_marks)
    parser.feed(text)
    held = text[len(text) - parser.held_chars :]
    assert any(mark.startswith(held) for mark in MARKS)


@given(value=values, tail=texts, cuts=places, compact=st.booleans())
def test_a_json_value_passes_unchanged_and_its_end_is_found(
    value: object, tail: str, cuts: list[int], compact: bool
) -> None:
    """Of JSON and text behind it, the JSON is passed on as it is, whatever the cut."""

    def script(reader: Reader) -> Steps[None]:
        yield from json_value(reader, reader.argue)
        yield from reader.until(sink=reader.say)

    text = json.dumps(value, separators=(",", ":") if compact else None, ensure_ascii=compact)
    pieces = run(ScriptParser(script), cut(f"{text}|{tail}", cuts), complete=True)
    assert pieces == [CallArguments(text), Said(f"|{tail}")]


@given(value=values, cuts=places)
def test_a_python_literal_becomes_the_json_of_its_value(value: object, cuts: list[int]) -> None:
    """What Python writes for a value is read as the JSON of that value, whatever the cut."""

    def script(reader: Reader) -> Steps[None]:
        yield from read_literal(reader, reader.argue)

    pieces = run(ScriptParser(script), cut(repr(value), cuts), complete=True)
    assert isinstance(pieces[0], CallArguments)
    assert json.loads(pieces[0].text) == value


fragments = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<th", "\n", " ", "x", "<tool_call>", '{"name": "ping"}', "</tool_call>"]
    ),
    max_size=10,
).map("".join)


@given(text=fragments, cuts=places, inside=st.booleans(), complete=st.booleans())
def test_reasoning_is_the_same_for_any_cut(text: str, cuts: list[int], inside: bool, complete: bool) -> None:
    """The pieces of an answer with reasoning and calls do not depend on how it comes."""

    def parser() -> ReasoningParser:
        return ReasoningParser(THINK, hermes.DIALECT.parser(()), starts_inside=inside)

    whole = run(parser(), [text], complete=complete)
    assert run(parser(), cut(text, cuts), complete=complete) == whole
    assert run(parser(), list(text), complete=complete) == whole


@given(thought=texts, said=texts, inside=st.booleans())
def test_reasoning_ends_at_its_first_closing_mark(thought: str, said: str, inside: bool) -> None:
    """What stands before it is thought, without white space at its ends; what comes after it is said."""
    opening = "" if inside else "<think>\n"
    parser = ReasoningParser(THINK, PlainParser(), starts_inside=inside)
    pieces = run(AnswerParser(parser), [f"{opening}{thought}\n</think>\n\n{said}"], complete=True)
    assert [p.text for p in pieces if isinstance(p, Thought)] == (
        [thought.strip()] if thought.strip() else []
    )
    words = said.lstrip("\n")
    assert [p.text for p in pieces if isinstance(p, Said)] == ([words] if words else [])


class Scripted:
    """A parser that gives what it was told to."""

    held_chars = 0
    failures = 0

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces

    def feed(self, text: str) -> list[Piece]:
        return self._pieces

    def flush(self, *, complete: bool) -> list[Piece]:
        return []


arguments = st.sampled_from(["", "{}", '{"a":1}', "[1]", '{"a":', "NaN", '{"a": NaN}', "[" * 100_000])


@given(calls=st.lists(st.tuples(arguments, st.booleans()), max_size=5), single=st.booleans())
@example(calls=[('{"a":', True), ("{}", True)], single=False)
def test_no_call_closes_that_is_no_object(calls: list[tuple[str, bool]], single: bool) -> None:
    """Closed calls have an object for arguments, only the last call may be open, and `single` means one."""
    made: list[Piece] = []
    for text, closed in calls:
        made += [Said("x"), CallOpened("f"), CallArguments(text), *([CallClosed()] if closed else [])]
        if not closed:
            break
    pieces = AnswerParser(Scripted(made), single_call=single).feed("")
    closings = [at for at, piece in enumerate(pieces) if isinstance(piece, CallClosed)]
    opened = [at for at, piece in enumerate(pieces) if isinstance(piece, CallOpened)]
    for at in closings:
        before = pieces[at - 1]
        assert isinstance(before, CallArguments)
        assert is_json_object(before.text)
    assert len(opened) - len(closings) in (0, 1)
    if len(opened) > len(closings):
        assert not any(isinstance(piece, Said) for piece in pieces[opened[-1] :])
    assert len(opened) <= 1 or not single


@each_dialect
@given(words=st.text(max_size=60), cuts=places)
def test_plain_words_come_out_as_they_are(dialect: Dialect, words: str, cuts: list[int]) -> None:
    """An answer without markup is said as it is, in every dialect and cut."""
    plain = "I " + re.sub(r"[<\[{]", "", words)
    parser = AnswerParser(dialect.parser(TOOLS))
    assert run(parser, cut(plain, cuts), complete=True) == [Said(plain)]
    assert (parser.held_chars, parser.failures) == (0, 0)


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))


@given(choice=st.sampled_from(["ping", "write_file"]), path=words, content=words)
def test_what_harmonys_grammar_takes_is_read_back(choice: str, path: str, content: str) -> None:
    """A call of Harmony as its template writes it is in the grammar, and reads as the call it was."""
    given_arguments = {"path": path, "content": content} if choice == "write_file" else {}
    head = f"<|channel|>commentary to=functions.{choice} <|constrain|>json<|message|>"
    text = f"{head}{json.dumps(given_arguments, ensure_ascii=False)}<|call|>"
    many = True
    grammar = harmony.DIALECT.grammar(TOOLS, json.dumps, many)
    matcher = LLMatcher(LLTokenizer("byte"), f"start: calls\n{grammar}")
    tokens = list(text.encode())
    assert matcher.try_consume_tokens(tokens) == len(tokens)
    assert matcher.is_accepting()
    pieces = run(AnswerParser(harmony.DIALECT.parser(TOOLS)), [text], complete=True)
    assert [type(piece) for piece in pieces] == [CallOpened, CallArguments, CallClosed]
    assert isinstance(pieces[1], CallArguments)
    assert json.loads(pieces[1].text) == given_arguments
