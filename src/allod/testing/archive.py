"""An archive in memory, whose blocks and tips can be lost and damaged."""

import hashlib
from collections.abc import Collection, Sequence

from allod.core.blocks import BLOCK_TOKENS, StoredTip
from allod.core.ids import BlockName, TenantId, TokenId

_TIP = "tip"


class FakeArchive:
    """Implements `core.ports.Archive`.

    Attributes:
        blocks: what is kept, tips among them; a block that is taken away here is gone.
        damaged: blocks that are there, and cannot be read.
        seconds: what reading a block takes, it says.
        expected: what it says before anything was read; None for the truth.
        reads: how often something was read.
        fetched: what was read, and neither taken nor released.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.blocks: dict[BlockName, bytes] = {}
        self.damaged: set[BlockName] = set()
        self.seconds = seconds
        self.expected: float | None = None
        self.reads = 0
        self.fetched: dict[BlockName, list[bytes]] = {}

    @property
    def used_bytes(self) -> int:
        """Of all blocks."""
        return sum(map(len, self.blocks.values()))

    def names(self, tenant: TenantId, tokens: Sequence[TokenId]) -> tuple[BlockName, ...]:
        """The names of a prompt's whole blocks."""
        ends = range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS)
        return tuple(
            BlockName(hashlib.blake2b(repr((tenant, tuple(tokens[:end]))).encode()).hexdigest())
            for end in ends
        )

    def tip_name(self, tokens: Sequence[TokenId], blocks: Sequence[BlockName]) -> BlockName:
        """The name of the tip behind these tokens."""
        number = len(tokens) // BLOCK_TOKENS
        told = repr((blocks[number - 1], tuple(tokens[number * BLOCK_TOKENS :])))
        return BlockName(f"{_TIP}-{len(tokens)}-{hashlib.blake2b(told.encode()).hexdigest()}")

    def tips(self, tokens: Sequence[TokenId], blocks: Sequence[BlockName]) -> tuple[StoredTip, ...]:
        """The tips of a prompt that are there, in order."""
        positions = {int(name.split("-")[1]) for name in self.tip_names}
        named = [
            StoredTip(position, self.tip_name(tokens[:position], blocks))
            for position in sorted(positions)
            if position <= len(tokens)
        ]
        return tuple(tip for tip in named if tip.name in self.blocks)

    @property
    def tip_names(self) -> tuple[BlockName, ...]:
        """The names of all tips."""
        return tuple(name for name in self.blocks if name.startswith(_TIP))

    def expected_seconds(self, name: BlockName) -> float:
        """What reading a block is believed to take."""
        seconds = self.seconds if self.expected is None or self.reads else self.expected
        return seconds if name in self.blocks else 0.0

    def holds(self, name: BlockName) -> bool:
        """Whether a block is there, damaged or not."""
        return name in self.blocks

    def wants(self, name: BlockName) -> bool:
        """Whether a block is not there."""
        return name not in self.blocks

    def fetch(self, name: BlockName) -> float | None:
        """Read a block; a damaged one is gone then."""
        self.reads += 1
        content = self.blocks.get(name)
        if content is None or name in self.damaged:
            self.blocks.pop(name, None)
            return None
        self.fetched.setdefault(name, []).append(content)
        return self.seconds

    def take(self, name: BlockName) -> bytes:
        """A block that was fetched."""
        contents = self.fetched[name]
        content = contents.pop()
        if not contents:
            del self.fetched[name]
        return content

    def release(self, names: Collection[BlockName]) -> None:
        """Hold blocks no longer that were fetched and will not be taken."""
        for name in names:
            self.take(name)

    def put(self, name: BlockName, content: bytes) -> None:
        """Keep a block at once."""
        self.blocks[name] = content
