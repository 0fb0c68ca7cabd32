"""Several requests as one: their events in one stream, choices numbered through."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from allod.core.events import Accepted, Event, Failed, Finished, Progress
from allod.core.usage import Timings, Usage


@dataclass(frozen=True, slots=True)
class Part:
    """One request of several: its events, and the number of its first choice."""

    events: AsyncGenerator[Event, None]
    first_choice: int


@dataclass(frozen=True, slots=True)
class _End:
    """A part has no more events; the error that ended it, if one did."""

    error: BaseException | None


async def merged(parts: Sequence[Part]) -> AsyncGenerator[Event, None]:
    """Yield the events of all parts as those of one request.

    Accepted goes out once every part was accepted; what a part says before that waits. The first part
    that fails ends all.

    Raises:
        AllodError: a part was refused before the whole was accepted.
    """
    mailbox: asyncio.Queue[tuple[int, Event | _End]] = asyncio.Queue()
    pumps = [asyncio.create_task(_pump(index, part, mailbox)) for index, part in enumerate(parts)]
    try:
        async with aclosing(_relay(parts, mailbox)) as events:
            async for event in events:
                yield event
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)


async def _pump(index: int, part: Part, mailbox: asyncio.Queue[tuple[int, Event | _End]]) -> None:
    error: BaseException | None = None
    try:
        async for event in part.events:
            mailbox.put_nowait((index, event))
    except Exception as raised:  # noqa: BLE001 - task boundary: the reader raises it again
        error = raised
    finally:
        await part.events.aclose()
        mailbox.put_nowait((index, _End(error)))


async def _relay(
    parts: Sequence[Part], mailbox: asyncio.Queue[tuple[int, Event | _End]]
) -> AsyncGenerator[Event, None]:
    whole = _Whole(parts)
    while not whole.ended:
        index, event = await mailbox.get()
        if not isinstance(event, _End):
            for merged_event in whole.feed(index, event):
                yield merged_event
        elif event.error is not None:
            raise event.error


class _Whole:
    """The parts taken together.

    Attributes:
        ended: nothing may follow.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.ended = False
        self._parts = parts
        self._accepted: list[Accepted] = []
        self._finished: list[Finished] = []
        self._early: list[Event] = []

    def feed(self, index: int, event: Event) -> list[Event]:
        """What an event of one part comes to."""
        match event:
            case Progress():
                return []
            case Accepted():
                return self._accept(event)
            case Finished():
                return self._finish(event)
            case Failed():
                self.ended = True
                return [event]
            case _:
                first_choice = self._parts[index].first_choice
                return self._in_turn(msgspec.structs.replace(event, choice=event.choice + first_choice))

    def _accept(self, event: Accepted) -> list[Event]:
        self._accepted.append(event)
        if len(self._accepted) < len(self._parts):
            return []
        prefix = self._accepted[0].prefix if len(self._accepted) == 1 else None
        return [Accepted(sum(part.prompt_tokens for part in self._accepted), prefix), *self._early]

    def _in_turn(self, event: Event) -> list[Event]:
        if len(self._accepted) == len(self._parts):
            return [event]
        self._early.append(event)
        return []

    def _finish(self, event: Finished) -> list[Event]:
        self._finished.append(event)
        if len(self._finished) < len(self._parts):
            return []
        self.ended = True
        ends = self._finished
        return [Finished(_total([end.usage for end in ends]), _longest([end.timings for end in ends]))]


def _total(usages: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )


def _longest(timings: Sequence[Timings]) -> Timings:
    first = [time.first_token_seconds for time in timings if time.first_token_seconds is not None]
    queued = [time.queued_seconds for time in timings if time.queued_seconds is not None]
    return Timings(
        queued_seconds=max(queued, default=None),
        first_token_seconds=min(first, default=None),
        total_seconds=max(time.total_seconds for time in timings),
    )
