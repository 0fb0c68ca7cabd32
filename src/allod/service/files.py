"""Keep files for those who will refer to them."""

import time
from collections.abc import Callable, Sequence
from uuid import uuid4

import msgspec

from allod.core.errors import NotFound
from allod.core.ids import TenantId
from allod.core.keeping import Kept
from allod.core.ports import Keeper
from allod.wire.files import FileObject, Upload

_EVERYTHING = 1_000_000


class FileService:
    """The files of every tenant.

    Args:
        keeper: where they are.
        retention_seconds: how long the keeper keeps them.
        clock: seconds since the epoch.
    """

    def __init__(
        self, keeper: Keeper, retention_seconds: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._keeper = keeper
        self._retention_seconds = retention_seconds
        self._clock = clock

    async def create(self, upload: Upload, tenant: TenantId, identifier: str | None = None) -> FileObject:
        """Keep a file; under a given identifier it takes the place of the one before.

        Raises:
            StoreFull: there is no room for it.
        """
        now = int(self._clock())
        lifetime = min(self._retention_seconds, upload.expires_seconds or self._retention_seconds)
        made = FileObject(
            id=identifier or f"file-{uuid4().hex}",
            bytes=len(upload.content),
            created_at=now,
            expires_at=now + lifetime,
            filename=upload.filename,
            purpose=upload.purpose,
        )
        body = msgspec.json.encode(made)
        await self._keeper.put(Kept("file", made.id, tenant, now, body, upload.content))
        return made

    async def all(self, tenant: TenantId, purpose: str | None = None) -> Sequence[FileObject]:
        """A tenant's files from the newest, of one purpose if one is named."""
        records = await self._keeper.list("file", tenant, limit=_EVERYTHING)
        files = [msgspec.json.decode(record.body, type=FileObject) for record in records]
        return [one for one in files if self._is_fresh(one) and purpose in (None, one.purpose)]

    async def one(self, identifier: str, tenant: TenantId) -> tuple[FileObject, bytes]:
        """A file and its content.

        Raises:
            NotFound: this tenant has no such file, or it is past its time.
        """
        record = await self._keeper.get("file", identifier, tenant)
        found = msgspec.json.decode(record.body, type=FileObject)
        if not self._is_fresh(found):
            await self._keeper.delete("file", identifier, tenant)
            raise _missing(identifier)
        return found, record.content

    async def delete(self, identifier: str, tenant: TenantId) -> None:
        """Forget a file.

        Raises:
            NotFound: this tenant has no such file.
        """
        if not await self._keeper.delete("file", identifier, tenant):
            raise _missing(identifier)

    def _is_fresh(self, file: FileObject) -> bool:
        return file.expires_at is None or file.expires_at > self._clock()


def _missing(identifier: str) -> NotFound:
    return NotFound(f"There is no file {identifier!r} here; GET /v1/files lists yours.")
