"""A keeper without a disk."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from allod.core.errors import NotFound, StoreFull
from allod.core.ids import TenantId
from allod.core.keeping import Kept, KeptKind

_Key = tuple[KeptKind, str, TenantId]


class MemoryKeeper:
    """Implements `core.ports.GroupKeeper` in memory.

    Args:
        retention_seconds: records older than this are not there.
        max_bytes: most bytes of bodies and contents.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        retention_seconds: int = 30 * 86_400,
        max_bytes: int = 2**30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._retention_seconds = retention_seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._records: dict[_Key, Kept] = {}

    async def put(self, record: Kept) -> None:
        """Keep a record, in place of one with the same kind, identifier and tenant.

        Raises:
            StoreFull: there is no room for it.
        """
        key = (record.kind, record.identifier, record.tenant)
        total_bytes = sum(_size(kept) for other, kept in self._records.items() if other != key)
        before = self._records.get(key)
        grows = _size(record) > (_size(before) if before else 0)
        if grows and total_bytes + _size(record) > self._max_bytes:
            raise StoreFull(f"The store is full: {self._max_bytes} bytes are allowed.")
        self._records[key] = record

    async def get(self, kind: KeptKind, identifier: str, tenant: TenantId) -> Kept:
        """One record.

        Raises:
            NotFound: this tenant has no such record, or it is past its time.
        """
        record = self._records.get((kind, identifier, tenant))
        if record is None or not self._is_fresh(record):
            raise NotFound(f"There is no {kind} {identifier!r} here.")
        return record

    async def delete(self, kind: KeptKind, identifier: str, tenant: TenantId) -> bool:
        """Forget a record; False when there was none."""
        return self._records.pop((kind, identifier, tenant), None) is not None

    async def list(
        self, kind: KeptKind, tenant: TenantId | None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[Kept]:
        """Records from the newest, those after the one named; a tenant of None means everybody's."""
        records = [
            kept for kept in self._records.values() if kept.kind == kind and tenant in (None, kept.tenant)
        ]
        places = {id(kept): place for place, kept in enumerate(records)}
        records.sort(key=lambda kept: (kept.created, places[id(kept)]), reverse=True)
        names = [kept.identifier for kept in records]
        if after is not None:
            records = records[names.index(after) + 1 :] if after in names else []
        return [replace(kept, content=b"") for kept in records if self._is_fresh(kept)][:limit]

    async def members(self, kind: KeptKind, group: str, tenant: TenantId) -> Sequence[Kept]:
        """Every record of a group, in no order."""
        return [replace(self._records[key], content=b"") for key in self._members(kind, group, tenant)]

    async def delete_members(self, kind: KeptKind, group: str, tenant: TenantId) -> int:
        """Forget every record of a group; how many there were."""
        keys = self._members(kind, group, tenant)
        for key in keys:
            del self._records[key]
        return len(keys)

    def _members(self, kind: KeptKind, group: str, tenant: TenantId) -> "list[_Key]":
        return [
            key
            for key, kept in self._records.items()
            if (kept.kind, kept.tenant) == (kind, tenant)
            and group
            and kept.group == group
            and self._is_fresh(kept)
        ]

    def _is_fresh(self, record: Kept) -> bool:
        return record.created > int(self._clock()) - self._retention_seconds


def _size(record: Kept) -> int:
    return len(record.body) + len(record.content)
