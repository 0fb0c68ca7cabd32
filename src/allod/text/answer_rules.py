"""How reasoning, form and calls follow one another in an answer, as Lark rules.

Most families write reasoning between two marks and then the answer; Harmony (gpt-oss) writes messages, each
with a channel. Rules made here begin with `main_`, so that they meet no rule of a dialect.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from allod.core.tools import Tool
from allod.text.lark import Speller, pattern, quoted, up_to
from allod.text.markup import Dialect, ReasoningMarks

HARMONY = "harmony"

_CHARS_PER_TOKEN = 4
"""What a token of reasoning counts where the closing mark is plain text: there characters are counted."""

_CLEAR_TRIGGER_CHARS = 4
"""A shorter trigger, such as `[`, is common in text: it means a call only at the start of the answer."""

_ANY_TEXT = pattern("(?s:.*)")
_GAP = pattern(r"[ \n]{0,4}")
"""What models write between their reasoning and what has no spaces of its own to begin with."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls an answer may have.

    Attributes:
        tools: what may be called, with the schemas to enforce.
        dialect: how a call is written.
        many: several calls may follow one another.
        forced: the answer is calls and nothing else.
    """

    tools: Sequence[Tool]
    dialect: Dialect
    many: bool
    forced: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer consists of.

    Attributes:
        form: the right side of the rule that the answer's text follows; None for plain text.
        is_json: space before the form means nothing.
        calls: None when calls play no part.
        reasoning: what stands around the reasoning that may come first; None for none.
        starts_inside: the reasoning has begun in the prompt.
        limit: most tokens of reasoning; None for no limit.
    """

    form: str | None
    is_json: bool
    calls: Calls | None
    reasoning: ReasoningMarks | None
    starts_inside: bool
    limit: int | None


def marked_rules(answer: Answer, speller: Speller) -> str:
    """Rules, from `start` on, of an answer whose reasoning stands between marks."""
    lines: list[str] = []
    thinks = _thinking(answer, speller, lines)
    if answer.form is not None:
        lines.append(f"main_form: {answer.form}")
    gap = f"{_GAP} " if thinks and (answer.calls or answer.is_json) else ""
    lines.append(f"main_answer: {gap}{_told(answer, speller, lines)}")
    return "\n".join([f"start: {thinks} main_answer", *lines]) + "\n"


def _thinking(answer: Answer, speller: Speller, lines: list[str]) -> str:
    """The term for reasoning; empty when there can be none."""
    marks, limit = answer.reasoning, answer.limit
    if marks is None or (limit == 0 and not answer.starts_inside):
        return ""
    opening, closing = speller.token(marks.opening), speller.token(marks.closing)
    if limit == 0:
        lines.append(f"main_thought: {speller.term(marks.closing)}")
    elif closing is not None:
        word = speller.words(without=(opening, closing))
        lines.append(f"main_thought: {word}{up_to(limit)} {speller.term(marks.closing)}")
    else:
        most = "*" if limit is None else f"{{0,{limit * _CHARS_PER_TOKEN}}}"
        lines.append(f"main_thought[lazy]: {pattern(f'(?s:.{most})')} {quoted(marks.closing)}")
    return "main_thought" if answer.starts_inside else f"({speller.term(marks.opening)} main_thought)?"


def _told(answer: Answer, speller: Speller, lines: list[str]) -> str:
    """The term for what comes after the reasoning."""
    calls = answer.calls
    if calls is None:
        return "main_form" if answer.form is not None else _free(answer, speller, lines)
    trigger = calls.dialect.trigger
    anywhere = answer.form is None and not calls.forced
    if not anywhere or speller.token(trigger) is not None or len(trigger) < _CLEAR_TRIGGER_CHARS:
        lines.append(calls.dialect.grammar(calls.tools, speller.term, calls.many))
    if calls.forced:
        return "calls"
    if answer.form is not None:
        return "(main_form | calls)"
    return _text_or_calls(calls, answer, speller, lines)


def _free(answer: Answer, speller: Speller, lines: list[str]) -> str:
    """Any text, in which the reasoning that was limited does not begin again."""
    opening = speller.token(answer.reasoning.opening) if answer.reasoning else None
    lines.append(f"main_text: {speller.anything(without=(opening,))}*")
    return "main_text"


def _text_or_calls(calls: Calls, answer: Answer, speller: Speller, lines: list[str]) -> str:
    """Text that goes over into calls where their trigger comes."""
    trigger = calls.dialect.trigger
    token = speller.token(trigger)
    if token is not None:
        opening = speller.token(answer.reasoning.opening) if answer.reasoning else None
        lines.append(f"main_text: {speller.words(without=(token, opening))}*")
        return "main_text calls?"
    if len(trigger) < _CLEAR_TRIGGER_CHARS:
        other = rf"([^\s{_in_class(trigger[0])}](?s:.*))?"
        lines.append(f"main_text: {pattern(other)}")
        return "(calls | main_text)"

    def spell(text: str) -> str:
        # A lazy lexeme ends at the first trigger, so text before it is free, and it can only begin a call.
        if not text.startswith(trigger):
            return speller.term(text)
        rest = text.removeprefix(trigger)
        return f"main_lead {speller.term(rest)}" if rest else "main_lead"

    lines.append(calls.dialect.grammar(calls.tools, spell, calls.many))
    lines.append(f"main_lead[suffix={quoted(trigger)}]: {_ANY_TEXT}")
    lines.append(f"main_text: {_ANY_TEXT}")
    return "(calls | main_text)"


def _in_class(character: str) -> str:
    return f"\\{character}" if character in "[]^-\\&~" else character


def harmony_rules(answer: Answer, speller: Speller) -> str:
    """Rules, from `start` on, of an answer in Harmony's channels, behind `<|start|>assistant`.

    Reasoning is messages of the channel `analysis`; text that leads up to a call may stand in `commentary`;
    the form is what the channel `final` says.
    """
    spell = speller.term
    next_message = f"{spell('<|end|>')} {spell('<|start|>')} {quoted('assistant')}"
    message = spell("<|message|>")
    word = speller.words()
    final = f"{spell('<|channel|>')} {quoted('final')} {_json_mark(answer, speller)} {message} main_said"
    lines = [
        f"main_final: {final}",
        f"main_said: {answer.form if answer.form is not None else word + '*'}",
        f"main_remark: {spell('<|channel|>')} {quoted('commentary')} {message} {word}* {next_message}",
    ]
    before = ""
    if answer.limit != 0:
        before = "main_thought*" if answer.limit is None else "main_thought?"
        thought = f"{word}{up_to(answer.limit)}"
        opening = f"{spell('<|channel|>')} {quoted('analysis')} {message}"
        lines.append(f"main_thought: {opening} {thought} {next_message}")
    calls = answer.calls
    if calls is None:
        return "\n".join([f"start: {before} main_final", *lines]) + "\n"
    lines.append(calls.dialect.grammar(calls.tools, spell, calls.many))
    told = "calls" if calls.forced else "(main_remark? calls | main_final)"
    return "\n".join([f"start: {before} {told}", *lines]) + "\n"


def _json_mark(answer: Answer, speller: Speller) -> str:
    """Harmony's word for a message that is JSON, which the model may write."""
    if answer.form is None or not answer.is_json:
        return ""
    return f"({quoted(' ')}? {speller.term('<|constrain|>')} {quoted('json')})?"
