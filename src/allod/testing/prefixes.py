"""What a FakeRunner keeps of what was read: strict about segments, and what they came to."""

from typing import NamedTuple

import msgspec

from allod.core.blocks import BLOCK_TOKENS, Load, Store
from allod.core.ids import SegmentId
from allod.core.ports import Archive
from allod.core.step import Discard, Keep, ModelFacts, Restore, Split
from allod.testing.contract import require
from allod.testing.history import START, History, Mark


class _Segment(NamedTuple):
    """Marks from the one before its first position to the one behind its last."""

    start: int
    marks: tuple[Mark, ...]
    has_tip: bool

    @property
    def tokens(self) -> int:
        return len(self.marks) - 1

    @property
    def end(self) -> int:
        return self.start + self.tokens


class FakeShelf:
    """Segments by name.

    Args:
        facts: says what segments take, and whether states can go on anywhere.
        archive: where blocks are stored and loaded; None where there is none.
    """

    def __init__(self, facts: ModelFacts, archive: Archive | None = None) -> None:
        self._archive = archive
        self._segments: dict[SegmentId, _Segment] = {}
        self._each_bytes = sum(layer.bytes_per_token for layer in facts.layers if layer.is_growing)
        self._others = [layer for layer in facts.layers if not layer.is_growing]
        self._refusal = facts.unkept_because

    @property
    def held_bytes(self) -> int:
        """What is kept takes so many."""
        return sum(
            self._each_bytes * segment.tokens + (self._tip_bytes(segment.end) if segment.has_tip else 0)
            for segment in self._segments.values()
        )

    def obey(self, step: Split | Discard | Store | Load) -> int:
        """Do a step.

        Returns:
            Bytes that it takes for the time being: both halves of a segment are copies.
        """
        match step:
            case Split():
                return self._split(step)
            case Store():
                self._store(step)
            case Load():
                self._load(step)
            case Discard(segment=name, tip_only=tip_only):
                segment = self._named(name)
                require(segment.has_tip or not tip_only, f"segment {name} has no tip to forget")
                del self._segments[name]
                if tip_only:
                    self._segments[name] = segment._replace(has_tip=False)
        return 0

    def restored(self, restore: Restore) -> list[Mark]:
        """What a state has read that starts from segments."""
        trail = [START]
        require(bool(restore.parts), f"{restore.state} starts from nothing")
        for place, (name, used) in enumerate(restore.parts):
            segment, is_last = self._named(name), place == len(restore.parts) - 1
            require(segment.start == len(trail) - 1, f"segment {name} does not follow the one before it")
            require(segment.marks[0] == trail[-1], f"segment {name} follows another text")
            require(0 < used <= segment.tokens, f"{used} of segment {name}, which has {segment.tokens}")
            require(is_last or used == segment.tokens, f"segment {name} is left in the middle")
            trail += segment.marks[1 : used + 1]
            if is_last and self._others:
                require(
                    used == segment.tokens and segment.has_tip, f"nothing can go on behind segment {name}"
                )
        return trail

    def keep(self, keep: Keep, source: History) -> None:
        """Keep a part of what a source has read."""
        trail = source.trail
        require(not self._refusal, f"this model keeps nothing: {self._refusal}")
        require(0 <= keep.start <= keep.end < len(trail), f"{keep}, of which {len(trail) - 1} are read")
        require(not keep.tip or self._has_tip(source, keep.end), f"a tip at {keep.end} of {source.length}")
        require(keep.tip == bool(self._others), f"a tip is wanted, or left out, against the facts: {keep}")
        if keep.start < keep.end:
            require(keep.segment not in self._segments, f"segment {keep.segment} is kept twice")
            marks = tuple(trail[keep.start : keep.end + 1])
            self._segments[keep.segment] = _Segment(keep.start, marks, keep.tip)
            return
        segment = self._named(keep.segment)
        require(
            segment.end == keep.end and segment.marks[-1] == trail[keep.end], f"a tip of another text: {keep}"
        )
        require(not segment.has_tip, f"segment {keep.segment} has a tip already")
        self._segments[keep.segment] = segment._replace(has_tip=True)

    def _has_tip(self, source: History, end: int) -> bool:
        """Whether it is as it was there; windows can be cut back into the last chunk."""
        is_cut = all(layer.window_tokens is not None for layer in self._others)
        return end == source.length or (is_cut and end > source.length - source.chunk_tokens)

    def _store(self, store: Store) -> None:
        require(self._archive is not None, "a block is stored, but nowhere")
        assert self._archive is not None
        marks: list[Mark] = []
        for name, start, end in store.parts:
            segment = self._named(name)
            require(0 <= start < end <= segment.tokens, f"{start} to {end} of segment {name}")
            require(not marks or marks[-1] == segment.marks[start], f"segment {name} follows another text")
            marks += segment.marks[start + bool(marks) : end + 1]
        tokens = BLOCK_TOKENS
        if store.tip is not None:
            segment = self._named(store.tip)
            marks = marks or [segment.marks[-1]]
            require(segment.has_tip and segment.marks[-1] == marks[-1], f"{store.tip} has no such tip")
            tokens = segment.end % BLOCK_TOKENS if self._each_bytes else segment.end
        require(len(marks) == tokens + 1, f"{len(marks) - 1} tokens are stored instead of {tokens}")
        self._archive.put(store.name, msgspec.json.encode(marks))

    def _load(self, load: Load) -> None:
        require((load.tip is None) != bool(self._others), f"a tip is wanted, or left out: {load}")
        assert self._archive is not None
        marks: list[Mark] = []
        for name in (*load.blocks, load.tip):
            if name is None:
                break
            block = msgspec.json.decode(self._archive.take(name), type=list[Mark])
            require(not marks or marks[-1] == block[0], f"block {name} follows another text")
            marks += block[bool(marks) :]
        tokens = load.end - load.start
        # A tip is at the end of what is loaded; blocks alone begin at a multiple of their length.
        skipped = load.start % BLOCK_TOKENS if load.tip is None else len(marks) - 1 - tokens
        held = tuple(marks[skipped : skipped + tokens + 1])
        require(skipped >= 0 and len(held) == tokens + 1, f"{load} of {len(marks) - 1} tokens")
        if tokens:
            require(load.segment not in self._segments, f"segment {load.segment} is kept twice")
            self._segments[load.segment] = _Segment(load.start, held, load.tip is not None)
            return
        segment = self._named(load.segment)
        require(segment.marks[-1] == held[0] and not segment.has_tip, f"a tip that is not missing: {load}")
        self._segments[load.segment] = segment._replace(has_tip=True)

    def _split(self, split: Split) -> int:
        segment = self._named(split.segment)
        require(0 < split.tokens < segment.tokens, f"{split}, of {segment.tokens}")
        fresh = split.head != split.tail and not {split.head, split.tail} & set(self._segments)
        require(fresh, f"{split} into segments that are there")
        del self._segments[split.segment]
        head, tail = segment.marks[: split.tokens + 1], segment.marks[split.tokens :]
        self._segments[split.head] = _Segment(segment.start, head, has_tip=False)
        self._segments[split.tail] = _Segment(segment.start + split.tokens, tail, segment.has_tip)
        return self._each_bytes * segment.tokens

    def _named(self, name: SegmentId) -> _Segment:
        require(name in self._segments, f"segment {name} is not there")
        return self._segments[name]

    def _tip_bytes(self, position: int) -> int:
        return sum(layer.held_bytes(position) for layer in self._others)
