"""An archive in memory, whose blocks can be lost and damaged."""

import hashlib
from collections.abc import Sequence

from allod.core.ids import BlockName, TenantId, TokenId
from allod.core.step import BLOCK_TOKENS


class FakeArchive:
    """Implements `core.ports.Archive`.

    Attributes:
        blocks: what is kept; a block that is taken away here is gone.
        damaged: blocks that are there, and cannot be read.
        seconds: what reading a block takes, it says.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.blocks: dict[BlockName, bytes] = {}
        self.damaged: set[BlockName] = set()
        self.seconds = seconds
        self._fetched: dict[BlockName, bytes] = {}

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

    def holds(self, name: BlockName) -> bool:
        """Whether a block is there, damaged or not."""
        return name in self.blocks

    def wants(self, name: BlockName) -> bool:
        """Whether a block is not there."""
        return name not in self.blocks

    def fetch(self, name: BlockName) -> float | None:
        """Read a block; a damaged one is gone then."""
        content = self.blocks.get(name)
        if content is None or name in self.damaged:
            self.blocks.pop(name, None)
            return None
        self._fetched[name] = content
        return self.seconds

    def take(self, name: BlockName) -> bytes:
        """A block that was fetched."""
        return self._fetched.pop(name)

    def release(self) -> None:
        """Forget what was fetched."""
        self._fetched.clear()

    def put(self, name: BlockName, content: bytes) -> None:
        """Keep a block at once."""
        self.blocks[name] = content
