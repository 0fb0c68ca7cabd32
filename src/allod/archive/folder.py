"""Blocks in a folder: an index in memory, a writer on a thread, two limits, and no errors."""

import contextlib
import logging
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from allod.archive.budget import DailyBudget
from allod.archive.files import PARTIAL, SUFFIX, file_bytes, read_block, write_block
from allod.archive.naming import block_names
from allod.core.ids import BlockName, TenantId, TokenId

_MOST_WAITING = 4
"""Blocks on their way to the disk; of more nothing is kept, for memory is worth more than they are."""

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
        self._sizes: dict[BlockName, int] = {}
        """By when they were used, the longest ago first."""
        self._coming: set[BlockName] = set()
        self._fetched: dict[BlockName, bytes] = {}
        self._lock = threading.Lock()
        self._waiting: queue.Queue[tuple[BlockName, bytes] | None] = queue.Queue(_MOST_WAITING)
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
            return sum(self._sizes.values())

    def names(self, tenant: TenantId, tokens: Sequence[TokenId]) -> tuple[BlockName, ...]:
        """The names of a prompt's whole blocks."""
        return tuple(block_names(self._secret, tenant, tokens))

    def holds(self, name: BlockName) -> bool:
        """Whether a block is there; reading it may still show that it is damaged."""
        with self._lock:
            return name in self._sizes

    def wants(self, name: BlockName) -> bool:
        """Whether a block is neither there nor on its way, and may be written."""
        with self._lock:
            is_known = name in self._sizes or name in self._coming
        return not (is_known or self._is_broken) and not self._waiting.full()

    def fetch(self, name: BlockName) -> float | None:
        """Read a block, to be taken; the seconds it took, or None where it is not to be had."""
        started = time.perf_counter()
        path = self._path(name)
        content = read_block(path)
        with self._lock:
            size_bytes = self._sizes.pop(name, None)
            if content is None:
                with contextlib.suppress(OSError):  # it is missed in any case, and is known no longer
                    path.unlink(missing_ok=True)
                return None
            if size_bytes is not None:
                self._sizes[name] = size_bytes  # now the one that was used last
        with contextlib.suppress(OSError):
            os.utime(path)
        self._fetched[name] = content
        return time.perf_counter() - started

    def take(self, name: BlockName) -> bytes:
        """A block that was fetched; it is held no longer."""
        return self._fetched.pop(name)

    def release(self) -> None:
        """Hold no longer what was fetched and not taken."""
        self._fetched.clear()

    def put(self, name: BlockName, content: bytes) -> None:
        """Keep a block, some time later; what cannot be kept is dropped."""
        with self._lock:
            if name in self._coming:
                return
            self._coming.add(name)
        try:
            self._waiting.put_nowait((name, content))
        except queue.Full:
            self._forget_coming(name)

    def close(self) -> None:
        """Write what waits, for some seconds at most."""
        ends = time.monotonic() + _CLOSE_SECONDS
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
        self._writer.join(max(0.0, ends - time.monotonic()))

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
        self._sizes = {BlockName(name): size for _, name, size in sorted(found)}

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
            self._sizes[name] = size_bytes

    def _make_room(self, size_bytes: int) -> None:
        while True:
            with self._lock:
                if sum(self._sizes.values()) + size_bytes <= self._limits.most_bytes or not self._sizes:
                    return
                oldest = next(iter(self._sizes))
                del self._sizes[oldest]
            self._path(oldest).unlink(missing_ok=True)

    def _forget_coming(self, name: BlockName) -> None:
        with self._lock:
            self._coming.discard(name)

    def _give_up(self, error: OSError) -> None:
        """Say once what is wrong. What is there can still be read."""
        if not self._is_broken:
            self._is_broken = True
            log.warning("prefixes are no longer kept on disk: %s", error)
