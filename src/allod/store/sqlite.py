"""The store behind the port: one thread of its own, so that the event loop never waits for a disk."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from allod.core.ids import TenantId
from allod.core.keeping import Kept, KeptKind
from allod.store.database import Clock, Database
from allod.store.settings import StoreSettings

_PURGE_SECONDS = 86_400.0
_log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


class SqliteKeeper:
    """Keeps records in a file.

    Args:
        path: of the file; opened at once.
        settings: how long and how much.
        clock: seconds since the epoch.

    Raises:
        ConfigurationError: the file is damaged, of another program or version, or cannot be used.
    """

    def __init__(self, path: Path, settings: StoreSettings, clock: Clock = time.time) -> None:
        self._thread = ThreadPoolExecutor(1, "allod-store")
        self._purging: asyncio.Task[None] | None = None
        try:
            self._database = self._thread.submit(Database, path, settings, clock).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def start(self) -> None:
        """Delete what is past its time, now and every day."""
        await self._purge()
        self._purging = asyncio.create_task(self._purge_daily())

    async def close(self) -> None:
        """Finish what was begun, and let go of the file."""
        if self._purging is not None:
            self._purging.cancel()
            with suppress(asyncio.CancelledError):
                await self._purging
        await self._do(self._database.close)
        self._thread.shutdown()

    async def put(self, record: Kept) -> None:
        """Keep a record, in place of one with the same kind, identifier and tenant.

        Raises:
            StoreFull: there is no room for it.
        """
        await self._do(lambda: self._database.put(record))

    async def get(self, kind: KeptKind, identifier: str, tenant: TenantId) -> Kept:
        """One record.

        Raises:
            NotFound: this tenant has no such record, or it is past its time.
        """
        return await self._do(lambda: self._database.get(kind, identifier, tenant))

    async def delete(self, kind: KeptKind, identifier: str, tenant: TenantId) -> bool:
        """Forget a record; False when there was none."""
        return await self._do(lambda: self._database.delete(kind, identifier, tenant))

    async def list(
        self, kind: KeptKind, tenant: TenantId | None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[Kept]:
        """Records from the newest, those after the one named; a tenant of None means everybody's."""
        return await self._do(lambda: self._database.list(kind, tenant, after, limit))

    async def members(self, kind: KeptKind, group: str, tenant: TenantId) -> Sequence[Kept]:
        """Every record of a group, in no order."""
        return await self._do(lambda: self._database.members(kind, group, tenant))

    async def delete_members(self, kind: KeptKind, group: str, tenant: TenantId) -> int:
        """Forget every record of a group; how many there were."""
        return await self._do(lambda: self._database.delete_members(kind, group, tenant))

    async def _purge_daily(self) -> None:
        while True:
            await asyncio.sleep(_PURGE_SECONDS)
            try:
                await self._purge()
            except Exception:  # noqa: BLE001 - a task that nobody awaits; tomorrow it tries again
                _log.exception("old records were not deleted")

    async def _purge(self) -> None:
        gone = await self._do(self._database.purge_old)
        if gone:
            _log.info("deleted %d records past their time", gone)

    async def _do(self, work: Callable[[], _Answer]) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
