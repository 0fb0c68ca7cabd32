"""How the answer to one prompt is to be read."""

from collections.abc import Callable
from dataclasses import dataclass

from allod.core.ids import TokenId
from allod.core.ports import TokenCodec
from allod.core.request import ReasoningForm
from allod.text.markup import Parser, ReasoningMarks
from allod.text.parse import PlainParser

_DEFAULT_MARKS = ReasoningMarks("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class Reading:
    """What turns tokens into words, thoughts and calls.

    Attributes:
        codec: the model's tokenizer.
        parser: makes a parser for one choice.
        shown: special tokens that are markup, which the parser must see.
        reasoning: where the thoughts go.
        marks: what stands around thoughts that stay inline.
        continues: the answer goes on from a text, so that a first space is part of it.
        takes_calls: calls may come; space before the first word waits until it is clear that none does.
            Where they may not, those that come all the same are dropped.
    """

    codec: TokenCodec
    parser: Callable[[], Parser] = PlainParser
    shown: frozenset[TokenId] = frozenset()
    reasoning: ReasoningForm = "field"
    marks: ReasoningMarks = _DEFAULT_MARKS
    continues: bool = False
    takes_calls: bool = False
