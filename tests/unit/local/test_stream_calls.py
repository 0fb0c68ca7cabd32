"""Thoughts and calls of one choice."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.core.events import (
    ChoiceFinished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.core.ids import SequenceId
from allod.core.messages import Emission
from allod.core.request import ReasoningForm
from allod.core.step import Scores
from allod.core.tools import Tool
from allod.local.reading import Reading
from allod.local.stream import ChoiceEvent, ChoiceStream
from allod.testing.codec import ByteCodec
from allod.text.markup import Parser, ReasoningMarks
from allod.text.parse import AnswerParser
from allod.text.reasoning import ReasoningParser
from allod.text.tools.hermes import DIALECT

MARKS = ReasoningMarks("<think>", "</think>")
TOOLS = (Tool("look_up"),)
CALL = '<tool_call>\n{"name": "look_up", "arguments": {"key": "a<b"}}\n</tool_call>'
STOP = 0


def parser() -> Parser:
    return AnswerParser(ReasoningParser(MARKS, DIALECT.parser(TOOLS), starts_inside=False))


def stream(*stops: str, reasoning: ReasoningForm = "field", takes_calls: bool = True) -> ChoiceStream:
    reading = Reading(ByteCodec(), parser, reasoning=reasoning, marks=MARKS, takes_calls=takes_calls)
    return ChoiceStream(0, reading, stops)


def told(choice: ChoiceStream, text: str, finish: str | None = "stop", *, scored: bool = False):
    tokens = (*text.encode(), STOP) if finish == "stop" else tuple(text.encode())
    scores = tuple(Scores(-1.0) for _ in tokens) if scored else ()
    return choice.feed(Emission(SequenceId(1), tokens, finish, scores))


def summed(events: list[ChoiceEvent]) -> dict[str, object]:
    """What a client makes of the events."""
    calls: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            calls.setdefault(event.index, []).append(event.arguments)
    return {
        "text": "".join(event.text for event in events if isinstance(event, TextDelta)),
        "thoughts": "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "begun": [event.name for event in events if isinstance(event, ToolCallStarted)],
        "ended": [event.index for event in events if isinstance(event, ToolCallFinished)],
        "arguments": ["".join(pieces) for pieces in calls.values()],
        "end": [event.reason for event in events if isinstance(event, ChoiceFinished)],
    }


def test_a_call_has_a_name_of_its_own_and_ends_the_choice() -> None:
    """Words before it stay, space before it does not; the arguments are those the model wrote."""
    events = told(stream(), f"Wait.\n{CALL}")
    assert summed(events) == {
        "text": "Wait.",
        "thoughts": "",
        "begun": ["look_up"],
        "ended": [0],
        "arguments": ['{"key": "a<b"}'],
        "end": ["tool_calls"],
    }
    identifiers = [event.identifier for event in events if isinstance(event, ToolCallStarted)]
    identifiers += [e.identifier for e in told(stream(), CALL) if isinstance(e, ToolCallStarted)]
    assert all(re.fullmatch(r"call_[0-9a-f]{24}", identifier) for identifier in identifiers)
    assert len(set(identifiers)) == 2


def test_space_before_a_call_is_no_content() -> None:
    """A model that writes a line end first still has an answer of nothing but a call."""
    assert not any(isinstance(event, TextDelta) for event in told(stream(), f"\n\n{CALL}"))
    assert summed(told(stream(), "\n\nhi"))["text"] == "\n\nhi"


@pytest.mark.parametrize("cut", range(len("<tool_call>\n"), len(CALL) - len("}\n</tool_call>")))
def test_a_call_that_is_cut_off_is_never_complete(cut: int) -> None:
    """Wherever the limit falls, the end is `length`, no call ends, and no markup is content."""
    end = summed(told(stream(), CALL[:cut], "length"))
    assert (end["ended"], end["end"], end["text"]) == ([], ["length"], "")


def test_where_calls_may_not_come_they_are_dropped() -> None:
    """With tool_choice none a model that calls all the same has said nothing."""
    end = summed(told(stream(takes_calls=False), f"No.{CALL}"))
    assert (end["text"], end["begun"], end["end"]) == ("No.", [], ["stop"])


@pytest.mark.parametrize(
    ("form", "text", "thoughts"),
    [
        ("field", "Paris.", "Easy END."),
        ("inline", "<think>Easy END.</think>Paris.", ""),
        ("none", "Paris.", ""),
    ],
)
def test_where_thoughts_go(form: ReasoningForm, text: str, thoughts: str) -> None:
    """A field of their own, between their marks, or nowhere; stop strings do not count in them."""
    choice = stream("END", reasoning=form)
    end = summed(told(choice, "<think>\nEasy END.\n</think>\n\nParis."))
    assert (end["text"], end["thoughts"], end["end"]) == (text, thoughts, ["stop"])
    assert 0 < choice.reasoning_tokens < choice.completion_tokens


def test_thoughts_that_are_cut_off_inline_are_closed() -> None:
    """A client that looks for the closing mark finds it."""
    end = summed(told(stream(reasoning="inline"), "<think>Hm", "length"))
    assert end["text"] == "<think>Hm</think>"


def test_only_tokens_of_words_have_scores() -> None:
    """OpenAI scores content; markup, thoughts and arguments are none."""
    events = told(stream(), f"<think>x</think>ab{CALL}", scored=True)
    chosen = b"".join(
        score.chosen.data for event in events if isinstance(event, TextDelta) for score in event.scores
    )
    assert chosen == b"ab"


PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "hi", " ", "\n", CALL, "<tool_call>", "</tool_call>", "{", "é"]),
    max_size=6,
).map("".join)


@given(text=PIECES, finish=st.sampled_from(["stop", "length"]), data=st.data())
def test_any_split(text: str, finish: str, data: st.DataObject) -> None:
    """Words, thoughts, calls, counts and end depend on the tokens alone, not on the steps they came in."""
    tokens = (*text.encode(), STOP)
    edges = data.draw(st.lists(st.integers(1, len(tokens) - 1), unique=True)) if len(tokens) > 1 else []
    whole, parts = stream(), stream()
    expected = summed(whole.feed(Emission(SequenceId(1), tokens, finish)))
    events: list[ChoiceEvent] = []
    for start, end in zip([0, *sorted(edges)], [*sorted(edges), len(tokens)], strict=True):
        last = finish if end == len(tokens) else None
        events += parts.feed(Emission(SequenceId(1), tokens[start:end], last))
    assert summed(events) == expected
    assert (parts.completion_tokens, parts.reasoning_tokens) == (
        whole.completion_tokens,
        whole.reasoning_tokens,
    )
    for index in expected["ended"]:  # type: ignore[union-attr]
        assert isinstance(json.loads(expected["arguments"][index]), dict)  # type: ignore[index]
