"""What goes to disk, and what comes back, of prompts of a model that can go on only where a tip is.

A tip is read together with all blocks before it that memory lacks, or not at all: nothing can go on from a
part of that. So what it takes is predicted, and the furthest tip is taken for which rows need not wait too
long.

A tip can be as large as thousands of tokens, and the next turn of a conversation goes on from another. It is
stored where it is worth its bytes: where a second prompt went on from it, or where there is as much in the
blocks since the last one. So a conversation writes at most twice what its blocks take, and what many begin
with is there soon.
"""

from collections.abc import Sequence

from allod.core.blocks import BLOCK_TOKENS, Load, Store, StoredTip
from allod.core.ids import BlockName, TenantId, TokenId
from allod.core.ports import Archive
from allod.core.step import Keep, PrefixStep
from allod.engine.archived import Room, block_store, loading, missing_blocks, most_blocks, parts
from allod.prefix.node import Node
from allod.prefix.sizes import PrefixSizes

_SLACK = 0.25
"""So much longer than it may take what is being read is gone on with; the pacer leaves as much of a stall."""

_OFTEN = 2
"""So many prompts that went on from a tip make it worth storing, wherever it is."""


class TippedPrompt:
    """An `ArchivedPrompt` of a model that needs tips.

    Args:
        archive: where blocks and tips are.
        sizes: bytes of what is kept.
        tenant: whose prompt it is.
        tokens: what of it is read before it decodes.
    """

    def __init__(
        self, archive: Archive, sizes: PrefixSizes, tenant: TenantId, tokens: Sequence[TokenId]
    ) -> None:
        self._archive = archive
        self._sizes = sizes
        self._tokens = tokens
        self._names = archive.names(tenant, tokens)
        # Where no layer grows there is nothing in a block.
        self._blocks = self._names if sizes.bytes_per_token else ()
        self._tips = archive.tips(tokens, self._names)
        self._fetched: set[BlockName] = set()

    def held_tokens(self, known: int) -> int:
        """How far the furthest tip is that can be had."""
        usable = (tip.position for tip in reversed(self._tips) if self._is_held(self._needed(tip, known)))
        return next(usable, 0)

    def fetch(self, known: int, cached: int, room: Room) -> int:
        """Read the furthest tip for which there is time and room, with the blocks before it."""
        seconds = room.seconds
        for tip in reversed(self._tips):
            if tip.position <= cached:
                break
            needed = [name for name in self._needed(tip, known) if name not in self._fetched]
            expected_seconds = sum(map(self._archive.expected_seconds, needed))
            is_near = self._bytes_of(tip) <= room.size_bytes and expected_seconds <= seconds
            if not (is_near and self._is_held(needed)):
                continue
            seconds = self._fetch(needed, seconds, _SLACK * room.seconds)
            if self._fetched.issuperset(needed):
                return tip.position
        return cached

    def loading(self, steps: Sequence[PrefixStep]) -> list[PrefixStep]:
        """Steps of which those that keep something `FROM_DISK` are to load it; all else is let go."""
        return loading(self._archive, self._fetched, self._load, steps)

    def store(self, path: Sequence[Node], cached: int) -> Sequence[PrefixStep]:
        """Hand over blocks, and the furthest tip on the way that is worth it and has all its blocks then."""
        worthwhile = [node for node in path if node.has_tip and self._is_worthwhile(node)]
        if not worthwhile:
            return []
        missing = missing_blocks(self._archive, self._blocks, worthwhile[-1].end)
        most = most_blocks(self._sizes)
        steps = [block_store(self._blocks, path, index) for index in missing[:most]]
        whole = missing[most] if len(missing) > most else cached // BLOCK_TOKENS
        complete = [node for node in worthwhile if node.end // BLOCK_TOKENS <= whole]
        if complete:
            steps += self._tip_store(complete[-1], path)
        return steps

    def _is_worthwhile(self, node: Node) -> bool:
        """Whether a tip is worth its bytes, or on disk already: then its blocks are."""
        # What is shorter than a block is read as fast; and a tip is found by the block before it.
        if node.end < BLOCK_TOKENS:
            return False
        before = max((tip.position for tip in self._tips if tip.position <= node.end), default=0)
        since_bytes = self._sizes.segment_bytes(node.end - before)
        is_far = since_bytes >= self._sizes.tip_bytes(node.end)
        return node.resumed >= _OFTEN or is_far or before == node.end

    def _tip_store(self, node: Node, path: Sequence[Node]) -> list[Store]:
        name = self._archive.tip_name(self._tokens[: node.end], self._names)
        if not self._archive.wants(name):
            return []
        start = node.end - node.end % BLOCK_TOKENS if self._blocks else 0
        return [Store(name, parts(path, start, node.end), node.segment)]

    def _needed(self, tip: StoredTip, known: int) -> list[BlockName]:
        """The tip first: without it all blocks are read for nothing."""
        blocks = self._blocks[known // BLOCK_TOKENS : tip.position // BLOCK_TOKENS]
        return [tip.name, *blocks]

    def _is_held(self, names: Sequence[BlockName]) -> bool:
        return all(map(self._archive.holds, names))

    def _bytes_of(self, tip: StoredTip) -> int:
        return self._sizes.segment_bytes(tip.position) + self._sizes.tip_bytes(tip.position)

    def _fetch(self, names: Sequence[BlockName], seconds: float, slack_seconds: float) -> float:
        """Read a tip and blocks, which are of one size, until one is not to be had or the time will not do.

        Returns:
            What is left of the time.
        """
        for left, name in zip(range(len(names), 0, -1), names, strict=True):
            rest_seconds = left * self._archive.expected_seconds(name)
            if left < len(names) and rest_seconds > seconds + slack_seconds:
                break
            taken_seconds = self._archive.fetch(name)
            if taken_seconds is None:
                break
            self._fetched.add(name)
            seconds -= taken_seconds
        return seconds

    def _load(self, step: Keep) -> Load:
        blocks = tuple(self._blocks[step.start // BLOCK_TOKENS : step.end // BLOCK_TOKENS])
        tip = next(tip.name for tip in self._tips if tip.position == step.end)
        return Load(step.segment, step.start, step.end, blocks, tip)
