"""Reading markup out of an answer while it is still being written.

A dialect is a recursive-descent reader written as a generator: it asks its `Reader` for text, and where
the text so far does not decide, it waits in the middle of its sentence until more has come. So a dialect
reads like its grammar and keeps no state of its own, and as `Reader` decides nothing that later text
could change, how the answer was cut plays no part.
"""

import re
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from typing import TypeVar

from allod.text.markup import CallArguments, CallClosed, CallOpened, Piece, Said, Thought

T = TypeVar("T")
Steps = Generator[None, None, T]
"""A reading in progress: it yields where it needs more text, and returns what it read."""

Sink = Callable[[str], object]
"""Where text goes: `Reader.say`, `Reader.argue`, or a list's `append`, which holds it back."""

Script = Callable[["Reader"], Steps[None]]
"""Reads an answer from its start to its end."""

Reading = Callable[["Reader", str], Steps[None]]
"""Reads one call from behind its opening mark, which it is told, to its end with the closing mark."""

_SPACE = re.compile(r"\s*")


class Malformed(Exception):
    """The text is not what the dialect writes here, or it ended too soon."""


class Reader:
    """One answer as a dialect reads it, and the pieces the dialect makes of it.

    Text is unread, then read, then settled: accounted for by a piece, or known to be markup. `rewind`
    goes back to where text is settled.

    Attributes:
        complete: at the end of the text, whether the model ended the answer itself.
        failures: calls that were begun and are malformed.
    """

    def __init__(self) -> None:
        self.complete = False
        self.failures = 0
        self._text = ""
        self._at = 0
        self._settled = 0
        self._ended = False
        self._opened = False
        self._argued = False
        self._said = False
        self._called = False
        self._pieces: list[Piece] = []

    # ------------------------------------------------------------ the side of the parser

    def add(self, text: str) -> None:
        """More of the answer has come."""
        self._text = self._text[self._settled :] + text
        self._at -= self._settled
        self._settled = 0

    def end(self, *, complete: bool) -> None:
        """No more will come."""
        self._ended = True
        self.complete = complete

    def drain(self) -> list[Piece]:
        """The pieces made since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces

    @property
    def held_chars(self) -> int:
        """Characters that are not settled."""
        return len(self._text) - self._settled

    # ------------------------------------------------------------ pieces

    @property
    def opened(self) -> bool:
        """A call is open."""
        return self._opened

    def settle(self) -> None:
        """What was read is accounted for."""
        self._settled = self._at

    def rewind(self) -> None:
        """Read again from where text is settled."""
        self._at = self._settled

    def say(self, text: str) -> None:
        """Words for the reader. A line's end parts words after a call from words before it."""
        if text:
            parted = self._said and self._called
            self._said, self._called = True, False
            self.put([Said("\n" + text if parted else text)])

    def part(self) -> None:
        """Words said from here on are apart from those before, as if a call stood between them."""
        self._called = True

    def think(self, text: str) -> None:
        """Words of reasoning."""
        if text:
            self.put([Thought(text)])

    def open(self, name: str) -> None:
        """A call of this tool begins."""
        self._opened = self._called = True
        self._argued = False
        self.put([CallOpened(name)])

    def argue(self, text: str) -> None:
        """More JSON text of the open call's arguments."""
        if text:
            self._argued = True
            self.put([CallArguments(text)])

    def close(self) -> None:
        """The open call is complete; without arguments, they are an empty object."""
        if not self._argued:
            self.argue("{}")
        self._opened = False
        self.put([CallClosed()])

    def put(self, pieces: Iterable[Piece]) -> None:
        """What another parser makes of the text that was read."""
        self._pieces.extend(pieces)
        self.settle()

    # ------------------------------------------------------------ reading

    def peek(self) -> Steps[str]:
        """The next character, unread; empty at the end of the answer."""
        while self._at == len(self._text):
            if self._ended:
                return ""
            yield
        return self._text[self._at]

    def take(self) -> Steps[str]:
        """Read one character. At the end of the answer this is Malformed."""
        character = yield from self.peek()
        if not character:
            raise Malformed
        self._at += 1
        return character

    def run(self, characters: re.Pattern[str], sink: Sink) -> Steps[None]:
        """Pass on what matches, up to the first character that does not; the pattern is a starred class."""
        while True:
            run = characters.match(self._text, self._at)
            if run and run.end() > self._at:
                self._at = run.end()
                sink(run.group())
            if self._at < len(self._text) or self._ended:
                return
            yield

    def skip_space(self) -> Steps[None]:
        """Read white space, which means nothing here."""
        yield from self.run(_SPACE, ignore)

    def match(self, *texts: str) -> Steps[str]:
        """Read the longest of these texts that comes next, and return it; empty where none comes."""
        longest = max(map(len, texts))
        while True:
            rest = self._text[self._at : self._at + longest]
            if self._ended or not any(_begins(text, rest) for text in texts):
                found = max((text for text in texts if rest.startswith(text)), key=len, default="")
                self._at += len(found)
                return found
            yield

    def expect(self, *texts: str) -> Steps[str]:
        """As `match`, but that none comes is Malformed."""
        found = yield from self.match(*texts)
        if not found:
            rest = self._text[self._at :]
            if any(_begins(text, rest) for text in texts):
                self._at += len(rest)  # it comes, but the answer ends first
            raise Malformed
        return found

    def until(self, *marks: str, sink: Sink, trim: Collection[str] = ()) -> Steps[str]:
        """Pass on text up to the first mark, read the mark and return it; empty at the end of the answer.

        Only what can still become a mark is held back, with `trim` also the white space before it. Where
        the answer is cut off, more than the first character of a mark counts as the mark and is not
        passed on; in a call, the first character does too.

        Args:
            marks: none of them begins with another.
            sink: where the text goes.
            trim: marks that the white space before them belongs to, so that it is not passed on.
        """
        starts = re.compile("|".join({re.escape(mark[0]) for mark in marks}) or r"(?!)")
        longest = max(map(len, marks), default=0)
        looked = 0  # characters after _at that begin no mark
        while True:
            start = starts.search(self._text, self._at + looked)
            position = start.start() if start else len(self._text)
            rest = self._text[position : position + longest]
            mark = next((mark for mark in marks if rest.startswith(mark)), "")
            begun = bool(rest) and not mark and any(_begins(mark, rest) for mark in marks)
            if start and not mark and (not begun or (self._ended and not self._cut_mark(rest))):
                looked = position + 1 - self._at
                continue
            bare = bool(trim) and (mark in trim if mark else begun or not self._ended)
            self._pass_to(position, sink, bare=bare)
            if mark or self._ended:
                self._at = position + len(mark) if mark else len(self._text)
                if not mark:
                    self.settle()
                return mark
            looked = position - self._at
            yield

    def swallow(self) -> Steps[None]:
        """Read the rest of the answer, which comes to nothing."""
        while True:
            self._at = len(self._text)
            self.settle()
            if self._ended:
                return
            yield

    def _pass_to(self, position: int, sink: Sink, *, bare: bool) -> None:
        text = self._text[self._at : position]
        text = text.rstrip() if bare else text
        self._at += len(text)
        if text:
            sink(text)

    def _cut_mark(self, rest: str) -> bool:
        return not self.complete and (self._opened or len(rest) > 1)

    # ------------------------------------------------------------ calls

    def call(self, reading: Steps[None]) -> Steps[None]:
        """Read what stands where a call must stand, after its opening mark, and white space behind it.

        A malformed call of which nothing has left the house yet is text: it is read again, as words. One
        whose name has left stays open for ever, and the rest of the answer is swallowed: what a model
        writes after a broken call cannot mend what the client already has. A call that is cut off is
        not malformed, and what there is of it is no text.
        """
        try:
            yield from reading
        except Malformed:
            if self._cut_off():
                self.settle()
                return
            self.failures += 1
            if self._opened:
                yield from self.swallow()
            self.rewind()
            self.part()
            yield from self.skip_space()
        else:
            self.settle()
            yield from self.skip_space()
        self.settle()

    def bare_call(self, reading: Steps[None]) -> Steps[bool]:
        """Read what may be a call though no mark says so; True if it was one, and is whole.

        Until it has proved to be a call it is text like any other, and nothing is read then; behind
        another call, what is cut off is taken for one. What breaks after that is as in `call`.
        """
        try:
            yield from reading
        except Malformed:
            if self._opened:
                self.failures += not self._cut_off()
                yield from self.swallow()
            elif self._called and self._cut_off():
                self.settle()
            self.rewind()
            return False
        self.settle()
        return True

    def _cut_off(self) -> bool:
        return self._ended and not self.complete and self._at == len(self._text)


class ScriptParser:
    """A `Parser` that runs a dialect's script."""

    def __init__(self, script: Script) -> None:
        self._reader = Reader()
        self._steps = script(self._reader)

    @property
    def held_chars(self) -> int:
        """Characters read that no piece accounts for yet."""
        return self._reader.held_chars

    @property
    def failures(self) -> int:
        """Calls that were begun and are malformed."""
        return self._reader.failures

    def feed(self, text: str) -> list[Piece]:
        """What this text completes."""
        self._reader.add(text)
        return self._advance()

    def flush(self, *, complete: bool) -> list[Piece]:
        """What the end of the answer makes of the text that was held."""
        self._reader.end(complete=complete)
        return self._advance()

    def _advance(self) -> list[Piece]:
        next(self._steps, None)
        return self._reader.drain()


def marked(openings: Sequence[str], reading: Reading, strays: Sequence[str] = ()) -> Script:
    """The script of a dialect whose calls begin with a mark; all before and after is words.

    Args:
        openings: marks that begin a call.
        reading: reads one call.
        strays: other marks, which mean nothing outside a call and are left out.
    """

    def script(reader: Reader) -> Steps[None]:
        while mark := (yield from reader.until(*openings, *strays, sink=reader.say, trim=openings)):
            reader.settle()
            if mark in openings:
                yield from reader.call(reading(reader, mark))

    return script


def ignore(text: str) -> None:
    """A sink for what means nothing."""


def _begins(mark: str, rest: str) -> bool:
    """Whether the rest of the text so far is a beginning of the mark, and not the whole of it."""
    return len(rest) < len(mark) and mark.startswith(rest)
