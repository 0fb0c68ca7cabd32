"""One batch on its way: read its lines, have them answered, write its files.

Every answered line is kept at once, under its number. So a batch that was interrupted, however rudely,
goes on with the lines that are missing, and no line is in its output twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import msgspec

from allod.core.errors import AllodError, InternalFailure, ModelUnavailable
from allod.core.ids import RequestId, TenantId
from allod.core.keeping import Kept
from allod.core.ports import GroupKeeper
from allod.service.batch_states import is_over, moved
from allod.service.files import FileService
from allod.service.settings import BatchSettings
from allod.wire.batch_lines import Line, Lines, answered, outcome_of, read_lines, unanswered
from allod.wire.batches import (
    BatchError,
    BatchErrors,
    BatchObject,
    BatchRecord,
    BatchStatus,
    BatchUsage,
    RequestCounts,
)
from allod.wire.files import Upload
from allod.wire.openai.errors import error_body

LineRunner = Callable[[str, bytes, TenantId, RequestId], Awaitable[tuple[int, bytes]]]
"""Answers one request of a batch: endpoint, body, whose it is, its id -> status and JSON body.

It is answered whole and at low priority. Errors of the request are answers, with their status; cancelling
the call ends the work.
"""

_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Waits before a line is tried again that found the server busy or its model on the way."""

_ENDS: Mapping[BatchStatus, BatchStatus] = {"cancelling": "cancelled", "finalizing": "completed"}
_EXPIRED = "This request could not be executed before the completion window expired."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all batches share.

    Attributes:
        answer: what a line is given to.
        clock: seconds since the epoch.
        pause: waits so many seconds.
        turns: batches that are read and answered at a time; the others wait in `validating`.
        places: lines that are answered at a time, over all batches.
    """

    keeper: GroupKeeper
    files: FileService
    answer: LineRunner
    settings: BatchSettings
    clock: Callable[[], float]
    pause: Callable[[float], Awaitable[object]]
    turns: asyncio.Semaphore
    places: asyncio.Semaphore

    def now(self) -> int:
        """Seconds since the epoch."""
        return int(self.clock())


@dataclass(slots=True)
class _Tally:
    """What the answered lines come to."""

    outputs: list[bytes] = field(default_factory=list[bytes])
    errors: list[bytes] = field(default_factory=list[bytes])
    usage: BatchUsage = field(default_factory=BatchUsage)

    def add(self, line: bytes) -> None:
        outcome = outcome_of(line)
        (self.outputs if outcome.succeeded else self.errors).append(line)
        self.usage = self.usage.plus(outcome.usage)


class BatchRun:
    """A batch that is not over.

    Args:
        record: as it was last stored.
        tenant: whose it is.
        workshop: see there.

    Attributes:
        batch: as it is now; its counts run ahead of what is stored.
    """

    def __init__(self, record: BatchRecord, tenant: TenantId, workshop: Workshop) -> None:
        self.batch: BatchObject = record.batch
        self._record = record
        self._tenant = tenant
        self._workshop = workshop
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Bring it to its end. Cancelling this leaves it as it is, to be taken up again."""
        try:
            if self.batch.status in ("validating", "in_progress"):
                await self._work_until_stopped()
            if not is_over(self.batch.status):
                await self._finish(_ENDS[self.batch.status])
        except AllodError as error:
            await self._fail(BatchError(error.code or "failed", error.message, error.param))
        except Exception:  # noqa: BLE001 - the border of a task: a fault of ours ends this batch alone
            _log.exception("batch %s failed", self.batch.id)
            await self._fail(BatchError("internal_error", "The server failed; its log has the details."))

    async def cancel(self) -> None:
        """Stop it: what is answered is kept, what is not is left."""
        self.batch = moved(self.batch, "cancelling", self._workshop.now())
        self._stopped.set()
        await self.keep()

    async def keep(self) -> None:
        """Store it as it is now."""
        record = msgspec.structs.replace(self._record, batch=self.batch)
        body = msgspec.json.encode(record)
        batch = self.batch
        await self._workshop.keeper.put(Kept("batch", batch.id, self._tenant, batch.created_at, body))

    async def _work_until_stopped(self) -> None:
        left_seconds = max(0.0, self.batch.expires_at - self._workshop.clock())
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({work, stop}, timeout=left_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_done = work.done()
            work.cancel()
            stop.cancel()
            await asyncio.wait({work, stop})
        if is_done:
            work.result()
        if is_over(self.batch.status) or self._stopped.is_set():
            return
        if is_done:
            await self._move("finalizing")
        else:
            await self._finish("expired")

    async def _work(self) -> None:
        async with self._workshop.turns:
            read = await self._read()
            if self._stopped.is_set():
                return
            if read.errors:
                await self._fail(*read.errors)
                return
            done = {_number(kept): kept.body for kept in await self._answered()}
            tally = _tally(done.values())
            counts = RequestCounts(len(read.lines), len(tally.outputs), len(tally.errors))
            self._change(request_counts=counts, model=read.model)
            if self.batch.status == "validating":
                await self._move("in_progress")
            await self._answer_all([line for line in read.lines if line.number not in done])

    async def _answer_all(self, lines: Sequence[Line]) -> None:
        waiting = iter(lines)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._workshop.settings.lines_in_flight, len(lines))):
                    group.create_task(self._answer_lines(waiting))
        except ExceptionGroup as several:
            raise several.exceptions[0] from several

    async def _read(self) -> Lines:
        _, content = await self._workshop.files.one(self.batch.input_file_id, self._tenant)
        limit = self._workshop.settings.max_lines
        return await asyncio.to_thread(read_lines, content, self.batch.endpoint, limit)

    async def _answer_lines(self, waiting: Iterator[Line]) -> None:
        """Take lines from those that wait, which other tasks take from, too."""
        for line in waiting:
            async with self._workshop.places:
                output = await self._answer(line)
            name = f"{self.batch.id}-{line.number}"
            record = Kept("batch_line", name, self._tenant, self._workshop.now(), output, group=self.batch.id)
            await self._workshop.keeper.put(record)
            counts = self.batch.request_counts
            field_name = "completed" if outcome_of(output).succeeded else "failed"
            one_more = {field_name: getattr(counts, field_name) + 1}
            self._change(request_counts=msgspec.structs.replace(counts, **one_more))

    async def _answer(self, line: Line) -> bytes:
        request = RequestId(f"req-{uuid4().hex}")
        status, body = await self._try(line, request)
        for seconds in _PAUSES_SECONDS:
            if status != ModelUnavailable.status:
                break
            await self._workshop.pause(seconds)
            status, body = await self._try(line, request)
        return answered(f"batch_req_{uuid4().hex}", line.custom_id, request, status, body)

    async def _try(self, line: Line, request: RequestId) -> tuple[int, bytes]:
        try:
            return await self._workshop.answer(self.batch.endpoint, line.body, self._tenant, request)
        except AllodError as error:
            return error.status, error_body(error)
        except Exception:  # noqa: BLE001 - one line must not end the others
            _log.exception("%s of batch %s failed", request, self.batch.id)
            failure = InternalFailure(f"The server failed; its log has the details under {request}.")
            return failure.status, error_body(failure)

    async def _answered(self) -> Sequence[Kept]:
        kept = await self._workshop.keeper.members("batch_line", self.batch.id, self._tenant)
        return sorted(kept, key=_number)

    async def _finish(self, end: BatchStatus) -> None:
        """Write the files, then say that it is over: whoever sees the end can fetch the answers."""
        kept = {_number(each): each.body for each in await self._answered()}
        if end == "expired":
            lines = (await self._read()).lines
            kept |= {line.number: _expired(line) for line in lines if line.number not in kept}
        tally = await asyncio.to_thread(_tally, [kept[number] for number in sorted(kept)])
        total = max(self.batch.request_counts.total, len(kept))
        changes = {
            "output_file_id": await self._write("output", tally.outputs),
            "error_file_id": await self._write("error", tally.errors),
            "request_counts": RequestCounts(total, len(tally.outputs), len(tally.errors)),
            "usage": tally.usage,
        }
        await self._move(end, **changes)
        await self._workshop.keeper.delete_members("batch_line", self.batch.id, self._tenant)

    async def _write(self, name: str, lines: Sequence[bytes]) -> str | None:
        """A file under a name that follows from the batch's, so that writing it again makes no second one."""
        if not lines:
            return None
        upload = Upload(
            filename=f"{self.batch.id}_{name}.jsonl",
            purpose="batch_output",
            content=b"".join(line + b"\n" for line in lines),
            expires_seconds=self._record.output_expires_seconds,
        )
        identifier = f"file-{self.batch.id.removeprefix('batch_')}-{name}"
        return (await self._workshop.files.create(upload, self._tenant, identifier)).id

    async def _fail(self, *errors: BatchError) -> None:
        """End it without files. The lines go first: a store that is full then has room for the news."""
        if is_over(self.batch.status):
            return
        try:
            await self._workshop.keeper.delete_members("batch_line", self.batch.id, self._tenant)
            await self._move("failed", errors=BatchErrors(errors))
        except AllodError as error:
            _log.error("batch %s failed, and that cannot be stored: %s", self.batch.id, error.message)

    async def _move(self, to: BatchStatus, **changes: object) -> None:
        self.batch = moved(self.batch, to, self._workshop.now(), **changes)
        await self.keep()

    def _change(self, **changes: object) -> None:
        self.batch = msgspec.structs.replace(self.batch, **changes)


def _number(kept: Kept) -> int:
    return int(kept.identifier.rpartition("-")[2])


def _tally(lines: Iterable[bytes]) -> _Tally:
    tally = _Tally()
    for line in lines:
        tally.add(line)
    return tally


def _expired(line: Line) -> bytes:
    return unanswered(f"batch_req_{uuid4().hex}", line.custom_id, "batch_expired", _EXPIRED)
