"""Keep responses, continue them, break them off."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from allod.core.errors import Cancelled, InvalidRequest, NotFound, PreviousResponseNotFound
from allod.core.events import Accepted, Event, Failed, Finished
from allod.core.ids import TenantId
from allod.core.keeping import Kept
from allod.core.ports import Keeper
from allod.wire.responses.shapes import Json, response_of_item
from allod.wire.responses.store import StoredResponse

Chain = tuple[StoredResponse, ...]
"""A response with all that it continues, oldest first."""


class Recorder(Protocol):
    """Writes down one response while it is made."""

    def feed(self, event: Event) -> None:
        """Add one event."""
        ...

    def record(self) -> bytes:
        """The response object as it ended, as JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a response before it is made.

    Attributes:
        identifier: such as `resp_...`.
        tenant: whose it is.
        created: seconds since the epoch.
        previous: the response it continues.
        input: the items that are new in its request, as JSON.
    """

    identifier: str
    tenant: TenantId
    created: int
    previous: str | None
    input: bytes

    def ended(self, record: bytes) -> StoredResponse:
        """The response, now that it has ended."""
        return StoredResponse(self.previous, msgspec.Raw(self.input), msgspec.Raw(record))


class ResponseService:
    """Responses that callers asked to be kept; each tenant sees only its own."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._flights: dict[tuple[TenantId, str], _Flight] = {}

    async def get(self, identifier: str, tenant: TenantId) -> StoredResponse:
        """A response that has ended.

        Raises:
            NotFound: this tenant has no such response.
        """
        try:
            kept = await self._keeper.get("response", identifier, tenant)
        except NotFound as error:
            raise NotFound(
                f"There is no stored response {identifier!r} of yours; it may have been created with "
                "store: false, be past its time, or still be on its way.",
                param="response_id",
            ) from error
        return msgspec.json.decode(kept.body, type=StoredResponse)

    async def delete(self, identifier: str, tenant: TenantId) -> None:
        """Forget a response.

        Raises:
            NotFound: this tenant has no such response.
        """
        await self.get(identifier, tenant)
        await self._keeper.delete("response", identifier, tenant)

    async def chain(self, previous: str | None, tenant: TenantId, near: Mapping[str, Chain]) -> Chain:
        """The response to continue, with all that it continues; `near` is looked through first.

        Raises:
            PreviousResponseNotFound: one of them is not kept, or not for this tenant.
        """
        later: list[StoredResponse] = []
        while previous is not None:
            if previous in near:
                return (*near[previous], *reversed(later))
            try:
                stored = await self.get(previous, tenant)
            except NotFound as error:
                raise PreviousResponseNotFound(
                    f"previous_response_id: there is no stored response {previous!r} of yours to continue; "
                    "send the whole conversation as input, without previous_response_id",
                    param="previous_response_id",
                ) from error
            later.append(stored)
            previous = stored.previous
        return tuple(reversed(later))

    async def referenced(self, items: Iterable[str], tenant: TenantId) -> dict[str, Json]:
        """Those of the items, named by their ids, that stand in a stored response."""
        found: dict[str, Json] = {}
        for identifier in items:
            response = response_of_item(identifier)
            if response is None:
                continue
            try:
                stored = await self.get(response, tenant)
            except NotFound:
                continue
            for item in stored.items():
                if item.get("id") == identifier:
                    found[identifier] = item
        return found

    async def cancel(self, identifier: str, tenant: TenantId) -> StoredResponse:
        """Break off a response that is being made, and return what there is of it.

        Raises:
            InvalidRequest: it has ended already.
            NotFound: this tenant has no such response.
        """
        flight = self._flights.get((tenant, identifier))
        if flight is None:
            await self.get(identifier, tenant)
            raise InvalidRequest(
                f"The response {identifier!r} has ended; only one that is still on its way can be cancelled.",
                param="response_id",
            )
        flight.cancel()
        await flight.ended.wait()
        return await self.get(identifier, tenant)

    async def kept(
        self, events: AsyncIterator[Event], recorder: Recorder, entry: Entry
    ) -> AsyncGenerator[Event, None]:
        """Yield the events, and keep the response before its last one, so that it can be continued at once.

        A response whose reader leaves is not kept; nor is one that was never accepted.
        """
        flight = _Flight()
        self._flights[entry.tenant, entry.identifier] = flight
        accepted = False
        try:
            while True:
                event = await flight.next(events)
                recorder.feed(event)
                accepted = accepted or isinstance(event, Accepted)
                last = isinstance(event, Finished | Failed)
                if last and accepted:
                    await self._keep(entry, recorder.record())
                yield event
                if last:
                    return
        finally:
            del self._flights[entry.tenant, entry.identifier]
            flight.ended.set()
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    async def _keep(self, entry: Entry, record: bytes) -> None:
        body = msgspec.json.encode(entry.ended(record))
        await self._keeper.put(Kept("response", entry.identifier, entry.tenant, entry.created, body))


class _Flight:
    """A response that is being made, and can be broken off while it waits for its next event."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._cancelled = False
        self._wait: asyncio.Timeout | None = None

    def cancel(self) -> None:
        """End it with `Cancelled`."""
        self._cancelled = True
        if self._wait is not None:
            self._wait.reschedule(asyncio.get_running_loop().time())

    async def next(self, events: AsyncIterator[Event]) -> Event:
        """The next event."""
        if self._cancelled:
            return self._end()
        try:
            async with asyncio.timeout(None) as self._wait:
                return await anext(events)
        except TimeoutError:
            if not self._cancelled:
                raise
            return self._end()
        finally:
            self._wait = None

    def _end(self) -> Failed:
        return Failed(Cancelled("The response was cancelled."))
