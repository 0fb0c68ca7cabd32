"""One worker process's conversation: commands out, reports in, each report to the request it is about."""

import asyncio
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never, cast

from allod.core.errors import AllodError, ModelUnavailable
from allod.core.ids import RequestId, SequenceId
from allod.core.messages import (
    Admitted,
    AnyReport,
    Cancel,
    Command,
    Embed,
    Embedded,
    Emission,
    Inspect,
    LoadFailed,
    Loading,
    PrefillProgress,
    Prepare,
    Prepared,
    Ready,
    Refused,
    Status,
    Stepped,
    Submit,
    Supply,
    Wanted,
    encode,
    report_decoder,
)
from allod.core.pictures import Digest

Letter = Admitted | Refused | PrefillProgress | Emission | Embedded | Prepared
"""What a worker can say about one request."""

Order = Submit | Embed | Prepare
"""What a worker can be asked for."""

_MOST_AT_ONCE = 1024
"""Letters handed out in one turn of the event loop: some milliseconds of work for whoever reads them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Lost:
    """Nothing more arrives, and why; the last thing a mailbox receives."""

    error: AllodError


class Mailbox:
    """What the worker says about one request, in order.

    It has one reader, which never waits for a client. So it needs no bound: what a client leaves
    unread piles up beyond, where there is one.

    Attributes:
        lacks: pictures that the worker was not sent yet; until then it owes nothing.
    """

    def __init__(self, link: "Link", order: Order, on_wanted: "OnWanted | None" = None) -> None:
        self.request = order.request
        self.sequences = order.sequences
        self.lacks: set[Digest] = set()
        self._link = link
        self._on_wanted = on_wanted
        self._letters: deque[Letter | _Lost] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> "Mailbox":
        return self

    def __exit__(self, *_: object) -> None:
        self._link.dismiss(self)

    async def next(self) -> Letter:
        """The next report about this request.

        Raises:
            ModelUnavailable: the worker stopped before the request was complete.
            AllodError: what `fail` was told.
        """
        while not self._letters:
            self._waiter = self._link.future()
            await self._waiter
        letter = self._letters.popleft()
        if isinstance(letter, _Lost):
            raise letter.error
        return letter

    def fail(self, error: AllodError) -> None:
        """The request cannot go on."""
        self._deliver(_Lost(error))

    def want(self, wanted: Wanted) -> None:
        """The worker lacks pictures; called by the link only."""
        if self._on_wanted is not None:
            self.lacks.update(wanted.digests)
            self._on_wanted(self, wanted.digests)

    def supply(self, supply: Supply) -> None:
        """Send the worker a picture that it lacks."""
        self.lacks.discard(supply.digest)
        self._link.supply(supply)

    def cancel(self, sequence: SequenceId) -> None:
        """Tell the worker to forget one sequence; nothing more arrives from it that counts."""
        self._link.cancel((sequence,))

    def put(self, letter: Letter) -> None:
        """Deliver; called by the link only."""
        self._deliver(letter)

    def _deliver(self, letter: "Letter | _Lost") -> None:
        self._letters.append(letter)
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


OnWanted = Callable[[Mailbox, tuple[Digest, ...]], None]
"""Told which pictures a worker lacks to go on with the request of a mailbox."""


class Link(asyncio.Protocol):
    """The gateway's end of a worker's socket pair. It never waits, so it never holds up a worker.

    Attributes:
        loaded: becomes the worker's Ready or LoadFailed.
        closed: becomes done when the connection has ended, from either side.
        loading: the newest stage of loading.
        status: the worker's newest account of itself.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.loaded: asyncio.Future[Ready | LoadFailed] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.loading: Loading | None = None
        self.status: Status | None = None
        self._transport: asyncio.Transport | None = None
        self._decoder = report_decoder()
        self._numbers = itertools.count(1)
        self._by_request: dict[RequestId, Mailbox] = {}
        self._by_sequence: dict[SequenceId, Mailbox] = {}
        self._inspections: deque[asyncio.Future[Status]] = deque()
        self._is_behind = False
        self._loss: str | None = None
        self._owing_since = 0.0
        self._heard_at = 0.0

    # -------------------------------------------------------------- what the gateway says

    def allocate(self, count: int) -> tuple[SequenceId, ...]:
        """Fresh sequence ids, unique for the life of this worker."""
        return tuple(SequenceId(number) for number in itertools.islice(self._numbers, count))

    def open(self, order: Order, on_wanted: OnWanted | None = None) -> Mailbox:
        """Send an order and return the mailbox of its answers; leaving the mailbox cancels it."""
        mailbox = Mailbox(self, order, on_wanted)
        if self._loss is not None:
            mailbox.fail(ModelUnavailable(self._loss))
            return mailbox
        if not self._by_sequence:
            self._owing_since = self._loop.time()
        self._by_request[order.request] = mailbox
        self._by_sequence.update(dict.fromkeys(order.sequences, mailbox))
        self.send(order)
        return mailbox

    def dismiss(self, mailbox: Mailbox) -> None:
        """Forget a mailbox; whatever it still waits for is cancelled."""
        self._by_request.pop(mailbox.request, None)
        self.cancel(mailbox.sequences)

    def cancel(self, sequences: tuple[SequenceId, ...]) -> None:
        """Make the worker forget those of the sequences that are not finished."""
        unfinished = tuple(number for number in sequences if self._by_sequence.pop(number, None))
        if unfinished:
            self.send(Cancel(unfinished))

    def supply(self, supply: Supply) -> None:
        """Send a picture that was waited for: from now on the worker owes an answer again."""
        self._owing_since = self._loop.time()
        self.send(supply)

    def inspect(self) -> asyncio.Future[Status]:
        """Ask the worker for its status; the answer comes when it has time, or never."""
        answer: asyncio.Future[Status] = self._loop.create_future()
        self._inspections.append(answer)
        self.send(Inspect())
        return answer

    def future(self) -> asyncio.Future[None]:
        """Something to wait for, on the loop that the link lives on."""
        return self._loop.create_future()

    def send(self, command: Command) -> None:
        """Queue a command; commands to a worker that is gone are dropped."""
        if self._transport is not None and not self.closed.done():
            self._transport.write(encode(command))

    def close(self) -> None:
        """End the connection now; the worker takes that as a request to exit."""
        if self._transport is not None:
            self._transport.abort()

    # -------------------------------------------------------------- what the supervisor needs

    def lose(self, message: str) -> None:
        """Tell everyone who still waits, now or later, that this worker answers no more."""
        self._loss = message
        for mailbox in dict.fromkeys(self._by_sequence.values()):
            mailbox.fail(ModelUnavailable(message))
        self._by_request.clear()
        self._by_sequence.clear()

    def silent_seconds(self) -> float:
        """How long the worker has owed an answer without saying anything; 0 when it owes none.

        One that was not sent a picture which it asked for may have nothing else to do.
        """
        if not self._by_sequence or any(mailbox.lacks for mailbox in self._by_request.values()):
            return 0.0
        return self._loop.time() - max(self._heard_at, self._owing_since)

    # -------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; event loops disagree on its base class, not on its methods."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand out every report that these bytes complete, now or in the next turns of the loop."""
        self._hear(data, most=_MOST_AT_ONCE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; the supervisor finds out why and tells the mailboxes."""
        if not self.closed.done():
            self.closed.set_result(None)
        self._hear(b"", most=math.inf)
        for answer in self._inspections:
            answer.cancel()

    def _hear(self, data: bytes, most: float) -> None:
        """Hand out reports until so many letters have gone out; then others get their turn of the loop first.

        A worker that is faster than its readers has to wait meanwhile.
        """
        self._heard_at = self._loop.time()
        letters = 0
        try:
            for report in self._decoder.feed(data):
                self._deliver(report)
                letters += len(report.emissions) if isinstance(report, Stepped) else 1
                if letters >= most:
                    self._hear_later()
                    return
        except ValueError:
            _log.exception("a worker sent bytes that are no report; its connection is closed")
            self.close()
            return
        if self._is_behind:
            self._is_behind = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _hear_later(self) -> None:
        if not self._is_behind:
            self._is_behind = True
            if self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()
        self._loop.call_soon(self._hear, b"", _MOST_AT_ONCE)

    def _deliver(self, report: AnyReport) -> None:
        match report:
            case Stepped():
                self._deliver_step(report)
            case Admitted() | Wanted() | Refused() | Embedded() | Prepared():
                self._deliver_letter(report)
            case Loading():
                self.loading = report
            case Ready() | LoadFailed():
                if not self.loaded.done():
                    self.loaded.set_result(report)
            case Status():
                self._answer_inspection(report)
            case _:
                assert_never(report)

    def _deliver_letter(self, report: Admitted | Wanted | Refused | Embedded | Prepared) -> None:
        match report:
            case Admitted():
                self._to_request(report.request, report)
            case Wanted():
                mailbox = self._by_request.get(report.request)
                if mailbox is not None:
                    mailbox.want(report)
            case last:
                self._conclude(last)

    def _deliver_step(self, stepped: Stepped) -> None:
        for progress in stepped.progress:
            self._to_request(progress.request, progress)
        for emission in stepped.emissions:
            mailbox = self._by_sequence.get(emission.sequence)
            if mailbox is None:
                continue
            if emission.finish is not None:
                del self._by_sequence[emission.sequence]
            mailbox.put(emission)

    def _conclude(self, last: Refused | Embedded | Prepared) -> None:
        mailbox = self._by_request.pop(last.request, None)
        if mailbox is None:
            return
        for number in mailbox.sequences:
            self._by_sequence.pop(number, None)
        mailbox.put(last)

    def _to_request(self, request: RequestId, letter: Letter) -> None:
        mailbox = self._by_request.get(request)
        if mailbox is not None:
            mailbox.put(letter)

    def _answer_inspection(self, status: Status) -> None:
        self.status = status
        if self._inspections:
            answer = self._inspections.popleft()
            if not answer.done():
                answer.set_result(status)
