"""Segments of states on the device: kept, split, forgotten, and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
from mlx_lm.models import cache as kinds

from allod.core.blocks import BLOCK_TOKENS, Load, Store
from allod.core.ids import SegmentId
from allod.core.ports import Archive
from allod.core.step import Discard, Keep, Restore, Split
from allod.runner import caches
from allod.runner.blocks import packed, unpacked
from allod.runner.caches import Entries
from allod.runner.network import Extent, Following, Network, Reading, Source

_MOST_FOLLOWING = 16
"""So many prompts' scores are kept: as many as the vocabulary is wide, 1 MB for a wide one."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What is kept of some positions.

    Attributes:
        entries: of each growing layer, (1, H, T, D) keys and values.
        start: index of the first position.
        extent: what was read up to its end, and how positions moved on the way.
        tip: the other layers at its end; None without a tip.
    """

    entries: tuple[Entries, ...]
    start: int
    extent: Extent
    tip: tuple[kinds.LayerCache, ...] | None = None

    @property
    def tokens(self) -> int:
        """How many positions."""
        return self.extent.length - self.start


class PrefixShelf:
    """Obeys the scheduler, which decides what is kept and where states go on.

    Args:
        network: makes empty states.
        archive: where blocks are stored and loaded; None where there is none.
    """

    def __init__(self, network: Network, archive: Archive | None = None) -> None:
        self._network = network
        self._archive = archive
        self._segments: dict[SegmentId, Segment] = {}
        self._following: dict[SegmentId, Following] = {}

    def keep(self, keep: Keep, source: Source, following: Following | None = None) -> list[object]:
        """Copy positions of a source, its tip, or both; returns the copies, which are on their way.

        Args:
            keep: what is copied.
            source: whence.
            following: what came of the prompt's last token, which stands behind all that is kept.
        """
        known: list[mx.array] = []
        if following is not None and following.length == keep.end:
            # A copy: a row of the scores of several prompts would hold those of all.
            known = [following.scores * 1]
            self._following[keep.segment] = replace(following, scores=known[0])
            if len(self._following) > _MOST_FOLLOWING:
                del self._following[next(iter(self._following))]
        # The columns of a batch end together, whatever the rows' lengths.
        behind = source.extent.length - keep.end
        tip = caches.tip(source.state, source.row, behind) if keep.tip else None
        extent = source.extent.until(keep.end)
        if keep.start == keep.end:
            self._segments[keep.segment] = replace(self._segments[keep.segment], tip=tip)
            entries: tuple[Entries, ...] = ()
        else:
            entries = caches.entries(source.state, source.row, keep.end - keep.start, behind)
            self._segments[keep.segment] = Segment(entries, keep.start, extent, tip)
        return _started([*_flat(entries), *(caches.arrays(list(tip)) if tip else []), *known])

    def split(self, split: Split) -> list[object]:
        """Make two of one; returns both, which are on their way."""
        whole = self._segments.pop(split.segment)
        cut = whole.start + split.tokens
        head = tuple(_part(each, 0, split.tokens) for each in whole.entries)
        tail = tuple(_part(each, split.tokens, whole.tokens) for each in whole.entries)
        self._segments[split.head] = Segment(head, whole.start, whole.extent.until(cut))
        self._segments[split.tail] = Segment(tail, cut, whole.extent, whole.tip)
        if split.segment in self._following:
            self._following[split.tail] = self._following.pop(split.segment)
        return _started([*_flat(head), *_flat(tail)])

    def discard(self, discard: Discard) -> None:
        """Forget a segment, or its tip."""
        segment = self._segments.pop(discard.segment)
        if discard.tip_only:
            self._segments[discard.segment] = replace(segment, tip=None)
        else:
            self._following.pop(discard.segment, None)

    def store(self, store: Store) -> None:
        """Hand a block or a tip to the archive; waits until what it is made of is computed."""
        assert self._archive is not None
        pieces = [
            tuple(_part(each, start, end) for each in self._segments[name].entries)
            for name, start, end in store.parts
        ]
        tip = (self._segments[store.tip].tip or ()) if store.tip is not None else ()
        self._archive.put(store.name, packed(_in_one(pieces), caches.tip_arrays(tip)))

    def load(self, load: Load) -> list[object]:
        """Make a segment of blocks and a tip, or give one a tip; returns what is new, on its way."""
        assert self._archive is not None
        pieces = [unpacked(self._archive.take(name)).entries for name in load.blocks]
        tip: tuple[kinds.LayerCache, ...] | None = None
        if load.tip is not None:
            end = unpacked(self._archive.take(load.tip))
            pieces += [end.entries] if end.entries else []
            tip = caches.tip_of(self._network.make_state(), end.tip, load.end)
        if load.start == load.end:
            self._segments[load.segment] = replace(self._segments[load.segment], tip=tip)
            return _started(caches.arrays(list(tip or ())))
        whole = _in_one(pieces)
        # The blocks begin at a multiple of their length, at or before the segment does.
        skipped = load.start % BLOCK_TOKENS
        entries = tuple(_part(each, skipped, skipped + load.end - load.start) for each in whole)
        self._segments[load.segment] = Segment(entries, load.start, Extent(load.end), tip)
        return _started([*_flat(entries), *caches.arrays(list(tip or ()))])

    def restore(self, restore: Restore) -> Reading:
        """A state as if its prompt had been read up to the end of these parts."""
        parts = [(self._segments[name], used) for name, used in restore.parts]
        last, used = parts[-1]
        extent = last.extent.until(last.start + used)
        state = self._network.make_state()
        pieces = [tuple(_cut(each, used) for each in segment.entries) for segment, used in parts]
        caches.fill(state, list(zip(*pieces, strict=True)), extent.length, last.tip or ())
        name, _ = restore.parts[-1]
        return Reading(state, extent, self._following.get(name), restore.parts)


def _in_one(pieces: Sequence[tuple[Entries, ...]]) -> tuple[Entries, ...]:
    """Entries of all layers, piece behind piece."""
    layers = list(zip(*pieces, strict=True))
    return tuple(
        (
            mx.concatenate([keys for keys, _ in parts], axis=2),
            mx.concatenate([values for _, values in parts], axis=2),
        )
        for parts in layers
    )


def _part(entries: Entries, start: int, end: int) -> Entries:
    keys, values = entries
    return mx.contiguous(keys[..., start:end, :]), mx.contiguous(values[..., start:end, :])


def _cut(entries: Entries, tokens: int) -> Entries:
    keys, values = entries
    if tokens == keys.shape[2]:
        return entries
    return keys[..., :tokens, :], values[..., :tokens, :]


def _flat(entries: Iterable[Entries]) -> Sequence[object]:
    return [array for pair in entries for array in pair]


def _started(arrays: list[object]) -> list[object]:
    mx.async_eval(arrays)
    return arrays
