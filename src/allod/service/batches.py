"""Run files of requests when nobody else needs the machine."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import msgspec

from allod.core.errors import InvalidRequest
from allod.core.ids import TenantId
from allod.core.keeping import Kept
from allod.core.ports import GroupKeeper
from allod.service.batch_run import BatchRun, LineRunner, Workshop
from allod.service.batch_states import MOVES, is_over
from allod.service.files import FileService
from allod.service.settings import BatchSettings
from allod.wire.batches import WINDOW_SECONDS, BatchObject, BatchRecord, BatchRequest

_EVERYTHING = 1_000_000
_TURNS = 4
"""Batches whose lines are in memory at a time."""


class BatchService:
    """The batches of every tenant.

    Args:
        keeper: where they are.
        files: where their lines come from, and their answers go.
        answer: what a line is given to.
        settings: how large, and how much at a time.
        clock: seconds since the epoch.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        keeper: GroupKeeper,
        files: FileService,
        answer: LineRunner,
        settings: BatchSettings,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        places = asyncio.Semaphore(settings.lines_in_flight)
        turns = asyncio.Semaphore(_TURNS)
        self._workshop = Workshop(keeper, files, answer, settings, clock, pause, turns, places)
        self._runs: dict[tuple[TenantId, str], BatchRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take up what an earlier life of the server left."""
        keeper = self._workshop.keeper
        for kept in reversed(await keeper.list("batch", None, limit=_EVERYTHING)):
            record = _record(kept)
            if is_over(record.batch.status):
                await keeper.delete_members("batch_line", record.batch.id, kept.tenant)
            else:
                self._begin(BatchRun(record, kept.tenant, self._workshop), kept.tenant)

    async def close(self) -> None:
        """Stop working; `start` of the next life goes on."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def create(self, request: BatchRequest, tenant: TenantId) -> BatchObject:
        """Begin a batch. Its lines are read later: whether they are sound is told by its status.

        Raises:
            NotFound: this tenant has no such file.
            InvalidRequest: the file is for something else.
            StoreFull: there is no room for it.
        """
        file, _ = await self._workshop.files.one(request.input_file_id, tenant)
        if file.purpose != "batch":
            raise InvalidRequest(
                f"input_file_id: {file.id} has purpose {file.purpose}; upload it with purpose batch",
                param="input_file_id",
            )
        now = self._workshop.now()
        batch = BatchObject(
            id=f"batch_{uuid4().hex}",
            endpoint=request.endpoint,
            input_file_id=file.id,
            created_at=now,
            expires_at=now + WINDOW_SECONDS,
            metadata=request.metadata,
        )
        run = BatchRun(BatchRecord(batch, request.output_expires_seconds), tenant, self._workshop)
        await run.keep()
        self._begin(run, tenant)
        return batch

    async def all(self, tenant: TenantId) -> Sequence[BatchObject]:
        """A tenant's batches from the newest."""
        records = await self._workshop.keeper.list("batch", tenant, limit=_EVERYTHING)
        stored = [_record(kept).batch for kept in records]
        return [self._runs[tenant, one.id].batch if (tenant, one.id) in self._runs else one for one in stored]

    async def one(self, identifier: str, tenant: TenantId) -> BatchObject:
        """A batch as it is now.

        Raises:
            NotFound: this tenant has no such batch.
        """
        if run := self._runs.get((tenant, identifier)):
            return run.batch
        return _record(await self._workshop.keeper.get("batch", identifier, tenant)).batch

    async def cancel(self, identifier: str, tenant: TenantId) -> BatchObject:
        """Stop a batch; one that is stopping or stopped stays as it is.

        Raises:
            NotFound: this tenant has no such batch.
            InvalidRequest: it is over, or too near its end.
        """
        batch = await self.one(identifier, tenant)
        if batch.status in ("cancelling", "cancelled"):
            return batch
        run = self._runs.get((tenant, identifier))
        if run is None or "cancelling" not in MOVES[run.batch.status]:
            status = batch.status if run is None else run.batch.status
            raise InvalidRequest(f"The batch {identifier!r} cannot be cancelled: it is {status}.")
        await run.cancel()
        return run.batch

    def _begin(self, run: BatchRun, tenant: TenantId) -> None:
        key = (tenant, run.batch.id)
        self._runs[key] = run
        task = asyncio.create_task(run.run())
        self._tasks.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            if self._runs.get(key) is run:
                del self._runs[key]

        task.add_done_callback(ended)


def _record(kept: Kept) -> BatchRecord:
    return msgspec.json.decode(kept.body, type=BatchRecord)
