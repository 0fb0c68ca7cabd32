"""What of prompts goes to disk, and what comes back.

A block is stored when it is used for the second time, so that what is asked once wears out no disk. It comes
back when a prompt is admitted that goes on with it and memory does not know it, for as long as rows may wait.
"""

from collections.abc import Sequence
from itertools import takewhile

from allod.core.ids import BlockName, SegmentId, SequenceId, TenantId, TokenId
from allod.core.ports import Archive
from allod.core.step import BLOCK_TOKENS, Keep, Load, PrefixStep, Store
from allod.prefix.node import Node

FROM_DISK = SequenceId(-1)
"""The source of what is kept although nobody here has read it."""

_MOST_STORED = 4
"""Blocks that are copied for the disk in one step."""


class Archived:
    """Plans what is done about one archive.

    Args:
        archive: where blocks are.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def names(self, tenant: TenantId, tokens: Sequence[TokenId]) -> Sequence[BlockName]:
        """The names of the whole blocks of what is read of a prompt: a hash over all of it."""
        return self._archive.names(tenant, tokens)

    def held_tokens(self, names: Sequence[BlockName]) -> int:
        """How many of a prompt's first tokens are on disk."""
        return BLOCK_TOKENS * len(self._held(names))

    def fetch(self, names: Sequence[BlockName], known: int, seconds: float) -> int:
        """Read blocks that follow what memory knows of a prompt.

        Args:
            names: of its blocks.
            known: how many of its tokens memory knows.
            seconds: for how long, about; one block is read in any case.

        Returns:
            Up to where blocks were read; `known` where none was.
        """
        self._archive.release()
        end = known
        for index, name in enumerate(self._held(names)):
            if index < known // BLOCK_TOKENS:
                continue
            taken_seconds = self._archive.fetch(name)
            if taken_seconds is None:
                break
            end = max(end, (index + 1) * BLOCK_TOKENS)
            seconds -= taken_seconds
            if seconds <= 0:
                break
        return end

    def store(self, names: Sequence[BlockName], path: Sequence[Node], cached: int) -> list[PrefixStep]:
        """Hand over what a prompt goes on from and the archive does not have.

        Args:
            names: of its blocks.
            path: what it goes on from.
            cached: how many tokens that is.
        """
        known = names[: cached // BLOCK_TOKENS]
        wanted = [index for index, name in enumerate(known) if self._archive.wants(name)]
        return [Store(names[index], _parts(path, index)) for index in wanted[:_MOST_STORED]]

    def _held(self, names: Sequence[BlockName]) -> list[BlockName]:
        return list(takewhile(self._archive.holds, names))


def loading(names: Sequence[BlockName], steps: Sequence[PrefixStep]) -> list[PrefixStep]:
    """Steps of which those that keep something `FROM_DISK` are to load it."""
    return [_load(step, names) for step in steps]


def _load(step: PrefixStep, names: Sequence[BlockName]) -> PrefixStep:
    if not isinstance(step, Keep) or step.source != FROM_DISK:
        return step
    blocks = tuple(names[step.start // BLOCK_TOKENS : -(-step.end // BLOCK_TOKENS)])
    return Load(step.segment, step.start, step.end, blocks)


def _parts(path: Sequence[Node], index: int) -> tuple[tuple[SegmentId, int, int], ...]:
    start, end = index * BLOCK_TOKENS, (index + 1) * BLOCK_TOKENS
    return tuple(
        (node.segment, max(start, node.start) - node.start, min(end, node.end) - node.start)
        for node in path
        if node.start < end and start < node.end
    )
