"""Blocks and tips in a folder: an index in memory, a writer on a thread, two limits, and no errors."""

import contextlib
import logging
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from allod.archive.budget import DailyBudget
from allod.archive.files import PARTIAL, SUFFIX, file_bytes, read_block, write_block
from allod.archive.index import Index
from allod.archive.naming import block_names, tip_name, tokens_behind
from allod.core.blocks import BLOCK_TOKENS, StoredTip
from allod.core.ids import BlockName, TenantId, TokenId

_MOST_WAITING_BYTES = 128 * 2**20
"""On their way to the disk; while there are more nothing is wanted, for memory is worth more than that."""

_FIRST_BYTE_SECONDS = 0.2e-9
"""Of reading, until something was read: a fast SSD. Who takes it for a slow one never finds out."""

_READ_WEIGHT = 0.5
_CLOSE_SECONDS = 5.0
_COUNT_FILE = "written.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may take.

    Attributes:
        most_bytes: of all blocks together.
        daily_bytes: most bytes written in a day.
    """

    most_bytes: int
    daily_bytes: int


class BlockFolder:
    """An `Archive` in a folder of its own.

    Args:
        folder: is made; blocks of another identity beside this one's are removed.
        identity: of all that makes a block what it is: model, form, libraries. Safe in a file's name.
        secret: see `block_names`.
        limits: what it may take.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        secret: bytes,
        limits: ArchiveLimits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder / identity
        self._secret = secret
        self._limits = limits
        self._clock = clock
        self._index = Index()
        self._coming: dict[BlockName, int] = {}
        """What waits to be written, and its bytes."""
        self._byte_seconds: float | None = None
        self._fetched: dict[BlockName, list[bytes]] = {}
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[BlockName, bytes] | None] = queue.SimpleQueue()
        self._is_broken = False
        self._budget = DailyBudget(folder / _COUNT_FILE, limits.daily_bytes)
        try:
            for each in (folder.parent, folder, self._folder):
                each.mkdir(mode=0o700, parents=each == folder.parent, exist_ok=True)
            self._sweep(folder)
            self._list()
        except OSError as error:
            self._give_up(error)
        self._writer = threading.Thread(target=self._write_all, name="archive", daemon=True)
        self._writer.start()

    @property
    def used_bytes(self) -> int:
        """Of all files."""
        with self._lock:
            return self._index.used_bytes

    def names(self, tenant: TenantId, tokens: Sequence[TokenId]) -> tuple[BlockName, ...]:
        """The names of a prompt's whole blocks."""
        return tuple(block_names(self._secret, tenant, tokens))

    def tip_name(self, tokens: Sequence[TokenId], blocks: Sequence[BlockName]) -> BlockName:
        """The name of the tip behind these tokens."""
        number = len(tokens) // BLOCK_TOKENS
        return tip_name(self._secret, blocks[number - 1], tokens[number * BLOCK_TOKENS :])

    def tips(self, tokens: Sequence[TokenId], blocks: Sequence[BlockName]) -> tuple[StoredTip, ...]:
        """The tips of a prompt that are there, in order."""
        found: list[StoredTip] = []
        for number, block in enumerate(blocks, start=1):
            with self._lock:
                names = tuple(self._index.tips(block))
            for name in names:
                start = number * BLOCK_TOKENS
                end = start + tokens_behind(name)
                if end <= len(tokens) and name == tip_name(self._secret, block, tokens[start:end]):
                    found.append(StoredTip(end, name))
        return tuple(sorted(found, key=lambda tip: tip.position))

    def holds(self, name: BlockName) -> bool:
        """Whether a block is there; reading it may still show that it is damaged."""
        with self._lock:
            return name in self._index

    def wants(self, name: BlockName) -> bool:
        """Whether a block is neither there nor on its way, and may be written."""
        with self._lock:
            is_known = name in self._index or name in self._coming
            has_room = sum(self._coming.values()) < _MOST_WAITING_BYTES
        return has_room and not (is_known or self._is_broken)

    def expected_seconds(self, name: BlockName) -> float:
        """What reading a block is believed to take, by how fast others were read."""
        with self._lock:
            return self._index.size_bytes(name) * (self._byte_seconds or _FIRST_BYTE_SECONDS)

    def fetch(self, name: BlockName) -> float | None:
        """Read a block, to be taken; the seconds it took, or None where it is not to be had."""
        started = time.perf_counter()
        path = self._path(name)
        content = read_block(path)
        with self._lock:
            if content is None:
                self._index.drop(name)
                with contextlib.suppress(OSError):  # it is missed in any case, and is known no longer
                    path.unlink(missing_ok=True)
                return None
            self._index.touch(name)
        with contextlib.suppress(OSError):
            os.utime(path)
        self._fetched.setdefault(name, []).append(content)
        seconds = time.perf_counter() - started
        latest = seconds / file_bytes(content)
        before = latest if self._byte_seconds is None else self._byte_seconds
        self._byte_seconds = before + (latest - before) * _READ_WEIGHT
        return seconds

    def take(self, name: BlockName) -> bytes:
        """A block that was fetched; it is held no longer."""
        contents = self._fetched[name]
        content = contents.pop()
        if not contents:
            del self._fetched[name]
        return content

    def release(self, names: Collection[BlockName]) -> None:
        """Hold blocks no longer that were fetched and will not be taken."""
        for name in names:
            self.take(name)

    def put(self, name: BlockName, content: bytes) -> None:
        """Keep a block, some time later; what cannot be kept is dropped."""
        with self._lock:
            if name in self._coming:
                return
            self._coming[name] = len(content)
        self._waiting.put((name, content))

    def close(self) -> None:
        """Write what waits, for some seconds at most."""
        self._waiting.put(None)
        self._writer.join(_CLOSE_SECONDS)

    def _path(self, name: BlockName) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _sweep(self, folder: Path) -> None:
        """Remove what a crash left half written, and blocks that nobody can use any more."""
        for other in folder.iterdir():
            if other.is_dir() and other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        for partial in self._folder.glob(f"*{PARTIAL}"):
            partial.unlink(missing_ok=True)

    def _list(self) -> None:
        found: list[tuple[float, str, int]] = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    stat = entry.stat()
                    found.append((stat.st_mtime, entry.name.removesuffix(SUFFIX), stat.st_size))
        self._index = Index((BlockName(name), size_bytes) for _, name, size_bytes in sorted(found))

    def _write_all(self) -> None:
        while (item := self._waiting.get()) is not None:
            name, content = item
            if not self._is_broken:
                try:
                    self._write(name, content)
                except OSError as error:
                    self._give_up(error)
            self._forget_coming(name)

    def _write(self, name: BlockName, content: bytes) -> None:
        size_bytes = file_bytes(content)
        if size_bytes > self._limits.most_bytes or not self._budget.allows(size_bytes, self._clock()):
            return
        self._make_room(size_bytes)
        self._budget.spend(size_bytes, self._clock())
        write_block(self._path(name), content)
        with self._lock:
            self._index.add(name, size_bytes)

    def _make_room(self, size_bytes: int) -> None:
        while True:
            with self._lock:
                oldest = self._index.oldest
                if oldest is None or self._index.used_bytes + size_bytes <= self._limits.most_bytes:
                    return
                self._index.drop(oldest)
            self._path(oldest).unlink(missing_ok=True)

    def _forget_coming(self, name: BlockName) -> None:
        with self._lock:
            self._coming.pop(name, None)

    def _give_up(self, error: OSError) -> None:
        """Say once what is wrong. What is there can still be read."""
        if not self._is_broken:
            self._is_broken = True
            log.warning("prefixes are no longer kept on disk: %s", error)
