"""Which words a token's log probability belongs to, and when it may be told."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from allod.core.events import ScoredToken
from allod.text.markup import Piece, Said


@dataclass(frozen=True, slots=True)
class Decided:
    """What one call of a parser settled.

    Attributes:
        start_chars: of the answer's text, settled before.
        end_chars: settled now.
        pieces: what came of the text between; markup leaves none.
        words: whether the answer stood in words before, and not in a thought or a call.
    """

    start_chars: int
    end_chars: int
    pieces: Sequence[Piece]
    words: bool


class ScoreQueue:
    """Keeps each token's score until the words that the token ends in are shown.

    A token of markup, of thoughts or of arguments has no words: its score is dropped. Where words and
    markup are settled at once, words at the start or at the end of the text are told from the rest by
    their length, which is exact unless a single call holds words between two marks.
    """

    def __init__(self) -> None:
        self._new: list[ScoredToken] = []
        self._read: deque[tuple[int, ScoredToken]] = deque()
        self._said: deque[tuple[int, ScoredToken]] = deque()
        self._said_chars = 0

    def add(self, scored: ScoredToken) -> None:
        """A token came; its text may not be complete yet."""
        self._new.append(scored)

    def place(self, read_chars: int) -> None:
        """The text of the new tokens ends no later than here."""
        self._read.extend((read_chars, scored) for scored in self._new)
        self._new.clear()

    def decide(self, decided: Decided) -> None:
        """Sort the tokens that a parser has settled."""
        start, end = decided.start_chars, decided.end_chars
        # What markup comes with words alone stands before them, as the mark that ends a thought does.
        only_words = all(isinstance(piece, Said) for piece in decided.pieces)
        lead = 0 if only_words else _said_at_start(decided.pieces)
        trail = _said_at_start(decided.pieces[::-1])
        before = self._said_chars
        self._said_chars += sum(len(piece.text) for piece in decided.pieces if isinstance(piece, Said))
        while self._read and self._read[0][0] <= end:
            place, scored = self._read.popleft()
            if end - trail < place:
                self._said.append((self._said_chars - (end - place), scored))
            elif start < place <= start + lead:
                self._said.append((before + place - start, scored))
            elif place == start and decided.words:
                self._said.append((before, scored))

    def take(self, shown_chars: int) -> list[ScoredToken]:
        """The scores of words that are shown, so many characters of them in all."""
        taken: list[ScoredToken] = []
        while self._said and self._said[0][0] <= shown_chars:
            taken.append(self._said.popleft()[1])
        return taken

    @property
    def said_chars(self) -> int:
        """Characters of words so far, shown or not."""
        return self._said_chars


def _said_at_start(pieces: Sequence[Piece]) -> int:
    count = 0
    for piece in pieces:
        if not isinstance(piece, Said):
            break
        count += len(piece.text)
    return count
