"""What of prompts goes to disk, and what comes back.

A block is stored when it is used for the second time, so that what is asked once wears out no disk. It comes
back when a prompt is admitted that goes on with it and memory does not know it, for as long as rows may wait.
What else holds for models that need tips is in `tipped`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from allod.core.blocks import BLOCK_TOKENS, Load, Store
from allod.core.ids import BlockName, SegmentId, SequenceId
from allod.core.ports import Archive
from allod.core.step import Keep, PrefixStep
from allod.prefix.node import Node
from allod.prefix.sizes import PrefixSizes

FROM_DISK = SequenceId(-1)
"""The source of what is kept although nobody here has read it."""

_MOST_STORED_BYTES = 128 * 2**20
"""Of blocks, copied for the disk in one step; a tip may go beside them."""


@dataclass(frozen=True, slots=True)
class Room:
    """What reading from disk may take.

    Attributes:
        seconds: for how long rows may wait, about.
        size_bytes: most bytes that may be kept.
    """

    seconds: float
    size_bytes: int


class ArchivedPrompt(Protocol):
    """A prompt held against an archive."""

    def held_tokens(self, known: int) -> int:
        """How many of its first tokens need not be read; `known` of them are in memory."""
        ...

    def fetch(self, known: int, cached: int, room: Room) -> int:
        """Read what memory lacks.

        Args:
            known: how many of its tokens memory knows.
            cached: where it could go on from memory alone.
            room: what reading may take.

        Returns:
            Where it can go on with what was read; `cached` where that is of no use.
        """
        ...

    def loading(self, steps: Sequence[PrefixStep]) -> list[PrefixStep]:
        """Steps of which those that keep something `FROM_DISK` are to load it.

        Called after `fetch` in any case: what was read and is not loaded is let go.
        """
        ...

    def store(self, path: Sequence[Node], cached: int) -> Sequence[PrefixStep]:
        """Hand over what it goes on from and the archive does not have.

        Args:
            path: what it goes on from.
            cached: how many tokens that is.
        """
        ...


class BlockedPrompt:
    """An `ArchivedPrompt` of a model that can go on anywhere.

    Args:
        archive: where blocks are.
        sizes: bytes of what is kept.
        names: of its whole blocks.
    """

    def __init__(self, archive: Archive, sizes: PrefixSizes, names: Sequence[BlockName]) -> None:
        self._archive = archive
        self._sizes = sizes
        self._names = names
        self._fetched: set[BlockName] = set()

    def held_tokens(self, known: int) -> int:
        """How many of its first tokens are on disk, whatever memory knows."""
        return BLOCK_TOKENS * len(self._held())

    def fetch(self, known: int, cached: int, room: Room) -> int:
        """Read blocks that follow what memory knows, for as long as there is time; one in any case."""
        end, seconds = known, room.seconds
        for index, name in enumerate(self._held()):
            if index < known // BLOCK_TOKENS:
                continue
            taken_seconds = self._archive.fetch(name)
            if taken_seconds is None:
                break
            self._fetched.add(name)
            end = max(end, (index + 1) * BLOCK_TOKENS)
            seconds -= taken_seconds
            if seconds <= 0:
                break
        return end

    def loading(self, steps: Sequence[PrefixStep]) -> list[PrefixStep]:
        """Steps of which those that keep something `FROM_DISK` are to load it; all else is let go."""
        return loading(self._archive, self._fetched, self._load, steps)

    def store(self, path: Sequence[Node], cached: int) -> Sequence[PrefixStep]:
        """Hand over blocks of what it goes on from."""
        missing = missing_blocks(self._archive, self._names, cached)[: most_blocks(self._sizes)]
        return [block_store(self._names, path, index) for index in missing]

    def _held(self) -> list[BlockName]:
        return list(takewhile(self._archive.holds, self._names))

    def _load(self, step: Keep) -> Load:
        blocks = tuple(self._names[step.start // BLOCK_TOKENS : -(-step.end // BLOCK_TOKENS)])
        return Load(step.segment, step.start, step.end, blocks)


def loading(
    archive: Archive,
    fetched: Collection[BlockName],
    load: Callable[[Keep], Load],
    steps: Sequence[PrefixStep],
) -> list[PrefixStep]:
    """Steps of which those that keep something `FROM_DISK` are to load it, and what is not loaded is let go.

    Args:
        archive: where it was fetched.
        fetched: all that was.
        load: makes what is loaded of what is kept.
        steps: which.
    """
    done = [load(step) if isinstance(step, Keep) and step.source == FROM_DISK else step for step in steps]
    loaded = {name for step in done if isinstance(step, Load) for name in (*step.blocks, step.tip)}
    archive.release([name for name in fetched if name not in loaded])
    return done


def missing_blocks(archive: Archive, names: Sequence[BlockName], end: int) -> list[int]:
    """Which of a prompt's whole blocks up to a position an archive lacks."""
    return [index for index, name in enumerate(names[: end // BLOCK_TOKENS]) if archive.wants(name)]


def most_blocks(sizes: PrefixSizes) -> int:
    """How many blocks one step may copy; one in any case."""
    return max(1, _MOST_STORED_BYTES // max(1, sizes.segment_bytes(BLOCK_TOKENS)))


def block_store(names: Sequence[BlockName], path: Sequence[Node], index: int) -> Store:
    """The step that hands over a block of a path."""
    return Store(names[index], parts(path, index * BLOCK_TOKENS, (index + 1) * BLOCK_TOKENS))


def parts(path: Sequence[Node], start: int, end: int) -> tuple[tuple[SegmentId, int, int], ...]:
    """What of the segments of a path lies between two positions, counted from the start of each."""
    return tuple(
        (node.segment, max(start, node.start) - node.start, min(end, node.end) - node.start)
        for node in path
        if node.start < end and start < node.end
    )
