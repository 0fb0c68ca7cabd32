"""A backend that follows a script."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from allod.core.card import ModelCard
from allod.core.errors import AllodError
from allod.core.events import Event, Failed, Finished
from allod.core.request import GenerationRequest

Act = Event | AllodError | asyncio.Event
"""Yield an event; raise an error (before the first event) or fail with it (after); wait until set."""

Script = Callable[[GenerationRequest, ModelCard], Sequence[Act]]


class FakeBackend:
    """A `Backend` that plays, for every request, the acts that its script names.

    Attributes:
        requests: every request that was begun, in order.
        active: requests that are neither finished nor closed.
        cancelled: requests that were closed before their last event.
    """

    def __init__(self, script: Script) -> None:
        self.requests: list[GenerationRequest] = []
        self.active = 0
        self.cancelled = 0
        self._script = script

    async def generate(self, request: GenerationRequest, card: ModelCard) -> AsyncGenerator[Event, None]:
        """Play the script.

        Raises:
            AllodError: the script has an error before its first event.
        """
        self.requests.append(request)
        self.active += 1
        complete = accepted = False
        try:
            for act in self._script(request, card):
                if isinstance(act, asyncio.Event):
                    await act.wait()
                    continue
                complete = isinstance(act, Finished | Failed | AllodError)
                if complete:
                    self.active -= 1
                if isinstance(act, AllodError):
                    if not accepted:
                        raise act
                    yield Failed(act)
                    return
                accepted = True
                yield act
        finally:
            if not complete:
                self.active -= 1
                self.cancelled += 1
