"""Which files an archive has."""

from collections.abc import Collection, Iterable

from allod.archive.naming import block_before
from allod.core.ids import BlockName


class Index:
    """Files by when they were used, and tips by the block before them.

    Args:
        files: names and sizes in bytes, what was used the longest ago first.

    Attributes:
        used_bytes: of all files.
    """

    def __init__(self, files: Iterable[tuple[BlockName, int]] = ()) -> None:
        self.used_bytes = 0
        self._sizes: dict[BlockName, int] = {}
        self._tips: dict[BlockName, set[BlockName]] = {}
        for name, size_bytes in files:
            self.add(name, size_bytes)

    def __contains__(self, name: BlockName) -> bool:
        return name in self._sizes

    @property
    def oldest(self) -> BlockName | None:
        """What was used the longest ago; None where there is nothing."""
        return next(iter(self._sizes), None)

    def size_bytes(self, name: BlockName) -> int:
        """The size of a file; 0 where it is not there."""
        return self._sizes.get(name, 0)

    def tips(self, block: BlockName) -> Collection[BlockName]:
        """The tips that stand behind a block, in no order."""
        return self._tips.get(block, ())

    def add(self, name: BlockName, size_bytes: int) -> None:
        """Know a file, as the one that was used last."""
        self.drop(name)
        self._sizes[name] = size_bytes
        self.used_bytes += size_bytes
        if (block := block_before(name)) is not None:
            self._tips.setdefault(block, set()).add(name)

    def touch(self, name: BlockName) -> None:
        """A file that is there was used."""
        if name in self._sizes:
            self._sizes[name] = self._sizes.pop(name)

    def drop(self, name: BlockName) -> None:
        """Know a file no longer."""
        self.used_bytes -= self._sizes.pop(name, 0)
        if (block := block_before(name)) is not None and (tips := self._tips.get(block)) is not None:
            tips.discard(name)
            if not tips:
                del self._tips[block]
