"""Reasoning: which marks a model writes around it, and what stands between them."""

import re

from allod.text.markup import Parser, Piece, ReasoningMarks
from allod.text.scan import Reader, ScriptParser, Steps, ignore

_LINE_ENDS = re.compile(r"\n*")

_KNOWN = (
    ReasoningMarks("<seed:think>", "</seed:think>"),
    ReasoningMarks("◁think▷", "◁/think▷"),
    ReasoningMarks("[THINK]", "[/THINK]"),
    ReasoningMarks("<|START_THINKING|>", "<|END_THINKING|>"),
    ReasoningMarks("<|channel>thought", "<channel|>"),
    ReasoningMarks("<mm:think>", "</mm:think>"),
    ReasoningMarks("<think>", "</think>"),
    ReasoningMarks("<thought>", "</thought>"),
)
"""The most particular first. Harmony's channels are not here: its dialect reads them."""


def find_marks(template_source: str) -> ReasoningMarks | None:
    """The marks that a chat template knows; None for models that do not reason between marks.

    The closing mark tells: templates use it to cut old reasoning out, and the opening one may be in the
    model's hands only.
    """
    return next((marks for marks in _KNOWN if marks.closing in template_source), None)


class ReasoningParser:
    """A `Parser` that takes the reasoning out of an answer and leaves the rest to another parser.

    Reasoning stands at the start of an answer, in one block or several: marks that come later belong to
    the answer, which may well be about such marks. What looks like a call between the marks is none.
    White space inside the marks, and line ends after them, are left out.

    Args:
        marks: what stands around the reasoning.
        inner: reads the rest.
        starts_inside: the prompt ends inside the reasoning, so that its opening mark may be missing.
    """

    def __init__(self, marks: ReasoningMarks, inner: Parser, *, starts_inside: bool) -> None:
        self._marks = marks
        self._inner = inner
        self._starts_inside = starts_inside
        self._outer = ScriptParser(self._answer)

    @property
    def held_chars(self) -> int:
        """Characters read that no piece accounts for yet."""
        return self._outer.held_chars + self._inner.held_chars

    @property
    def failures(self) -> int:
        """Calls that were begun and are malformed."""
        return self._inner.failures

    def feed(self, text: str) -> list[Piece]:
        """What this text completes."""
        return self._outer.feed(text)

    def flush(self, *, complete: bool) -> list[Piece]:
        """What the end of the answer makes of the text that was held."""
        return [*self._outer.flush(complete=complete), *self._inner.flush(complete=complete)]

    def _answer(self, reader: Reader) -> Steps[None]:
        inside = self._starts_inside
        yield from reader.skip_space()
        while (yield from reader.match(self._marks.opening)) or inside:
            inside = False
            yield from reader.skip_space()
            reader.settle()
            closing = self._marks.closing
            yield from reader.until(closing, sink=reader.think, trim=(closing,))
            yield from reader.run(_LINE_ENDS, ignore)
            reader.settle()
        reader.rewind()
        yield from reader.until(sink=lambda text: reader.put(self._inner.feed(text)))
