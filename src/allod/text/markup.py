"""What an answer's text comes to once its markup is read: words, thoughts and calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from allod.core.tools import Tool


class Said(msgspec.Struct, frozen=True):
    """Words for the reader."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """Words the model thinks with."""

    text: str


class CallOpened(msgspec.Struct, frozen=True):
    """A call of this tool begins."""

    name: str


class CallArguments(msgspec.Struct, frozen=True):
    """More of the JSON text of the open call's arguments."""

    text: str


class CallClosed(msgspec.Struct, frozen=True):
    """The open call is complete: its arguments, joined, are one JSON object."""


Piece = Said | Thought | CallOpened | CallArguments | CallClosed


class Parser(Protocol):
    """Reads one answer. However the text is cut into calls, the joined pieces are the same."""

    @property
    def held_chars(self) -> int:
        """Characters read that no piece accounts for yet, because what follows decides what they are."""
        ...

    @property
    def failures(self) -> int:
        """Calls that were begun and are malformed."""
        ...

    def feed(self, text: str) -> list[Piece]:
        """What this text completes."""
        ...

    def flush(self, *, complete: bool) -> list[Piece]:
        """The answer is over. Held text that is no markup is `Said` now.

        Args:
            complete: True when the model ended its answer itself, so that a call whose end mark is the
                end of the answer is complete; False when it was cut off. A call that is not complete
                gets no `CallClosed`.
        """
        ...


Spell = Callable[[str], str]
"""A piece of text as a term of llguidance's Lark dialect: a quoted string, or a special token's reference."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of models writes calls.

    Attributes:
        name: the word that settings and documents use.
        marks: special tokens that are markup, by their text; the detokeniser shows them to the parser.
        fingerprints: sets of strings; a chat template that holds all strings of one set speaks this dialect.
        parser: a new parser for one answer; the tools tell the types of arguments that come as bare text.
        grammar: Lark rules for llguidance whose rule `calls` is one call or, with `many`, one or more, as
            the model writes them from the start of its answer, with arguments that follow the schemas.
        trigger: the text a call starts with.
        ending: special tokens, by their text, that end an answer with a call in it.
        frames_answer: every answer is written in it, also one without calls.
    """

    name: str
    marks: tuple[str, ...]
    fingerprints: tuple[tuple[str, ...], ...]
    parser: Callable[[Sequence[Tool]], Parser]
    grammar: Callable[[Sequence[Tool], Spell, bool], str]
    trigger: str
    ending: tuple[str, ...] = ()
    frames_answer: bool = False


@dataclass(frozen=True, slots=True)
class ReasoningMarks:
    """What stands around the reasoning of a model, such as `<think>` and `</think>`."""

    opening: str
    closing: str
