"""What of kept segments goes to an archive, and comes back: blocks of positions, and tips."""

from dataclasses import dataclass

from allod.core.ids import BlockName, SegmentId

BLOCK_TOKENS = 256
"""Positions of a block in an archive: of an 8B with full attention 32 MiB."""


@dataclass(frozen=True, slots=True)
class StoredTip:
    """A tip in an archive.

    Attributes:
        position: how many tokens of a prompt it stands behind.
        name: of its file; stands for all of these tokens.
    """

    position: int
    name: BlockName


@dataclass(frozen=True, slots=True)
class Store:
    """Hand a block or a tip to the archive.

    Attributes:
        name: of it.
        parts: what it is made of: segments, and from where to where in each, counted from its start. With
            a tip goes what stands between the last whole block and it. Where no layer grows there are no
            blocks, and these are all positions up to the tip.
        tip: the segment that has the tip at its end; None for a block.
    """

    name: BlockName
    parts: tuple[tuple[SegmentId, int, int], ...]
    tip: SegmentId | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Make a segment of what the archive has fetched.

    Attributes:
        segment: its name from now on; with `start == end`, a segment that ends there and has no tip yet.
        start: index of its first position.
        end: index after the last one.
        blocks: which, in order; the first one's beginning may be left out. With a tip, whole ones before it.
        tip: its tip, which brings what stands between the last whole block and it; None where no layer
            needs one.
    """

    segment: SegmentId
    start: int
    end: int
    blocks: tuple[BlockName, ...]
    tip: BlockName | None = None
