"""Stop strings: where an answer ends before the model ends it."""

import re
from collections.abc import Sequence


class StopMatcher:
    """Cuts an answer before a stop string.

    The text is read character by character. The first character that completes a stop string ends
    the answer; if it completes several, the longest of them counts. The answer is the text before
    that string. So of all occurrences the one with the earliest end decides, then the one with the
    earliest start, and how the text was cut into calls plays no part.

    Only text that can still become part of a stop string is held back. Empty stop strings are
    ignored.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._needles = tuple(_Needle(stop) for stop in dict.fromkeys(stops) if stop)
        starts = {re.escape(needle.text[0]) for needle in self._needles}
        self._starts = re.compile("|".join(starts))
        self._held = ""
        self._matched: str | None = None

    @property
    def matched(self) -> str | None:
        """The stop string that ended the answer, if one did."""
        return self._matched

    def feed(self, text: str) -> str:
        """Text that is safe to show; nothing after a match."""
        if self._matched is not None:
            return ""
        if not self._needles or not (self._held or self._starts.search(text)):
            return text
        held = self._held + text
        for end, character in enumerate(text, start=len(self._held) + 1):
            complete = [needle.text for needle in self._needles if needle.accept(character)]
            if complete:
                self._matched = max(complete, key=len)
                self._held = ""
                return held[: end - len(self._matched)]
        cut = len(held) - max(needle.progress for needle in self._needles)
        self._held = held[cut:]
        return held[:cut]

    def flush(self) -> str:
        """What was held back, since nothing more can complete it; nothing after a match."""
        held, self._held = self._held, ""
        return held


class _Needle:
    """One string being looked for, in constant time per character (Knuth, Morris and Pratt 1977).

    `progress` is the length of its longest prefix that the text read so far ends with.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.progress = 0
        self._fallback = [0] * len(text)
        for index in range(1, len(text)):
            self._fallback[index] = self._advance(self._fallback[index - 1], text[index])

    def accept(self, character: str) -> bool:
        """Read one character; True when it completes the string. Not to be called after that."""
        self.progress = self._advance(self.progress, character)
        return self.progress == len(self.text)

    def _advance(self, progress: int, character: str) -> int:
        while progress and self.text[progress] != character:
            progress = self._fallback[progress - 1]
        return progress + (self.text[progress] == character)
