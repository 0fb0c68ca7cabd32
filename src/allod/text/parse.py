"""What local answers are read with: a dialect's pieces, with what no client may ever get kept back."""

import json

from allod.text.markup import CallArguments, CallClosed, CallOpened, Parser, Piece, Said, Thought


class PlainParser:
    """A `Parser` for answers without markup: all of it is words."""

    held_chars = 0
    failures = 0

    def feed(self, text: str) -> list[Piece]:
        """These words."""
        return [Said(text)] if text else []

    def flush(self, *, complete: bool) -> list[Piece]:
        """Nothing is held."""
        return []


class AnswerParser:
    """Passes a parser's pieces on and holds them to what `CallClosed` promises.

    - A call closes only when its arguments, joined, are one JSON object; no arguments are `{}`.
    - A call that does not close stays open, and nothing comes after it: the client already has its name
      and cannot tell what belongs to a call that broke. What is malformed before its name has gone out
      is words, without the marks; the dialects see to that.
    - With `single_call`, all calls after the first are left out.

    Args:
        parser: reads the markup.
        single_call: one call at most.
    """

    def __init__(self, parser: Parser, *, single_call: bool = False) -> None:
        self._parser = parser
        self._single_call = single_call
        self._arguments: list[str] | None = None  # of the open call
        self._calls = 0
        self._broken = 0

    @property
    def held_chars(self) -> int:
        """Characters read that no piece accounts for yet."""
        return self._parser.held_chars

    @property
    def failures(self) -> int:
        """Calls that were begun and are malformed."""
        return self._parser.failures + self._broken

    def feed(self, text: str) -> list[Piece]:
        """What this text completes; neighbours of one kind are one piece."""
        pieces = self._parser.feed(text)
        if len(pieces) == 1 and not self._broken and isinstance(pieces[0], Said):
            return pieces  # nearly always: words alone need no check
        return self._checked(pieces)

    def flush(self, *, complete: bool) -> list[Piece]:
        """What the end of the answer makes of the text that was held."""
        return self._checked(self._parser.flush(complete=complete))

    def _checked(self, pieces: list[Piece]) -> list[Piece]:
        passed: list[Piece] = []
        for piece in pieces:
            if self._broken:
                break
            passed += self._check(piece)
        return joined(passed)

    def _check(self, piece: Piece) -> list[Piece]:
        match piece:
            case CallOpened():
                self._calls += 1
                self._arguments = []
            case CallArguments(text=text) if self._arguments is not None:
                self._arguments.append(text)
            case CallClosed():
                return self._close(piece)
            case _:
                pass
        is_call = isinstance(piece, CallOpened | CallArguments)
        return [] if is_call and self._is_surplus else [piece]

    def _close(self, piece: CallClosed) -> list[Piece]:
        arguments, self._arguments = "".join(self._arguments or ()), None
        if self._is_surplus:
            return []
        if not arguments.strip():
            return [CallArguments("{}"), piece]
        if is_json_object(arguments):
            return [piece]
        self._broken = 1
        return []

    @property
    def _is_surplus(self) -> bool:
        return self._single_call and self._calls > 1


def joined(pieces: list[Piece]) -> list[Piece]:
    """The same pieces, with neighbours of one kind as one."""
    whole: list[Piece] = []
    for piece in pieces:
        last = whole[-1] if whole else None
        match piece, last:
            case (Said(text=text), Said(text=before)):
                whole[-1] = Said(before + text)
            case (Thought(text=text), Thought(text=before)):
                whole[-1] = Thought(before + text)
            case (CallArguments(text=text), CallArguments(text=before)):
                whole[-1] = CallArguments(before + text)
            case _:
                whole.append(piece)
    return whole


def is_json_object(text: str) -> bool:
    """Whether this is one JSON object, by the book: Python also reads `NaN`."""
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(word: str) -> None:
    raise ValueError(word)
