"""What the runner holds of pictures: bookkeeping without a byte of them.

A picture is asked for, its tensors arrive, it is looked at, and its features stay until others need the
room. Each step reserves what it may take, so the shelf is never fuller than it may be.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from allod.core.pictures import Digest, PictureSpan, Sight


class Stage(Enum):
    """What is known of a picture."""

    ASKED = auto()
    """Its tensors were asked for."""
    HELD = auto()
    """The runner holds its tensors."""
    SEEN = auto()
    """The runner holds its features."""


@dataclass(slots=True)
class _Entry:
    """One picture; the most recently used stand last in the dictionary."""

    stage: Stage
    size_bytes: int


class PictureShelf:
    """Which pictures there are, and which leave when another one needs the room.

    Attributes:
        used_bytes: bytes that are held or promised.
        seen_count: how many pictures were looked at, from the start.
    """

    def __init__(self, sight: Sight | None) -> None:
        self.used_bytes = 0
        self.seen_count = 0
        self._sight = sight
        self._entries: dict[Digest, _Entry] = {}

    @property
    def whole_spans(self) -> bool:
        """Whether a picture must be read in one chunk."""
        return self._sight is not None and self._sight.whole_spans

    def stage(self, digest: Digest) -> Stage | None:
        """What is known of a picture; None when nothing is."""
        entry = self._entries.get(digest)
        return None if entry is None else entry.stage

    def is_seen(self, digest: Digest) -> bool:
        """Whether a picture's features are there."""
        return self.stage(digest) is Stage.SEEN

    def use(self, digest: Digest) -> None:
        """A picture is needed now; of those that are not, the one that was so longest ago leaves first."""
        if (entry := self._entries.pop(digest, None)) is not None:
            self._entries[digest] = entry

    def ask(self, span: PictureSpan, keep: Collection[Digest]) -> list[Digest] | None:
        """Promise a picture its room.

        Args:
            span: the picture.
            keep: pictures that must not leave for it.

        Returns:
            What the runner is to forget for it; None when there is no room beside those that are kept.
        """
        assert self._sight is not None
        size_bytes = self._sight.shelf_bytes(span)
        spare = self._sight.cache_bytes - size_bytes
        kept_bytes = sum(entry.size_bytes for digest, entry in self._entries.items() if digest in keep)
        if kept_bytes > spare:
            return None
        leaving: list[Digest] = []
        for digest in [digest for digest in self._entries if digest not in keep]:
            if self.used_bytes <= spare:
                break
            leaving += self._drop(digest)
        self._put(span.digest, _Entry(Stage.ASKED, size_bytes))
        return leaving

    def supply(self, digest: Digest) -> bool:
        """The tensors are there; False when nobody waits for them."""
        if self.stage(digest) is not Stage.ASKED:
            return False
        self._entries[digest].stage = Stage.HELD
        return True

    def see(self, span: PictureSpan) -> None:
        """The features are there, and the tensors gone. One that was forgotten meanwhile stays so."""
        if self.stage(span.digest) is Stage.HELD:
            assert self._sight is not None
            self._drop(span.digest)
            self._put(span.digest, _Entry(Stage.SEEN, self._sight.feature_bytes(span)))
            self.seen_count += 1

    def withdraw(self, digest: Digest) -> None:
        """Who asked for a picture wants it no more; whoever else does asks again."""
        if self.stage(digest) is Stage.ASKED:
            self._drop(digest)

    def _put(self, digest: Digest, entry: _Entry) -> None:
        self._entries[digest] = entry
        self.used_bytes += entry.size_bytes

    def _drop(self, digest: Digest) -> list[Digest]:
        """Forget a picture; names it if the runner has something of it."""
        entry = self._entries.pop(digest)
        self.used_bytes -= entry.size_bytes
        return [] if entry.stage is Stage.ASKED else [digest]
