"""Which models are in memory: leases, places, and who leaves when another one comes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from allod.core.card import ModelCard, Purpose
from allod.core.errors import ModelUnavailable
from allod.core.hosting import HostedModel
from allod.core.ids import ModelName
from allod.local.link import Link
from allod.local.process import WorkerCommand
from allod.local.settings import LocalSettings
from allod.local.supervisor import Supervisor

_INSPECTION_SECONDS = 1.0
_CLOSING = "The server is shutting down."


@dataclass(eq=False, slots=True)
class _Resident:
    """A model that was asked for, and how it is used."""

    supervisor: Supervisor
    leases: int = 0
    used_at: float = 0.0


@dataclass(eq=False, slots=True)
class _Place:
    """Room for one model of a purpose: `inside` has a process or may have one, `wanted` is to be there."""

    purpose: Purpose
    wanted: _Resident | None = None
    inside: _Resident | None = None
    mover: asyncio.Task[None] | None = None


@dataclass(eq=False, slots=True)
class _Claim:
    """A request in the queue for a lease; granted None means that there will be none."""

    card: ModelCard
    granted: "asyncio.Future[_Resident | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Residency:
    """Keeps at most `max_resident_models` models in memory; implements `ModelHost`.

    Leases are granted strictly in the order they were asked for. So a model that waits for a place is
    not starved by traffic for the model that holds it: later requests for that one queue up behind.
    """

    def __init__(self, command: WorkerCommand, settings: LocalSettings) -> None:
        self._command = command
        self._settings = settings
        self._residents: dict[ModelName, _Resident] = {}
        texts = (_Place("text") for _ in range(settings.max_resident_models))
        # Encoders are small, and would otherwise change places with the chat model at every request.
        self._places = (*texts, _Place("embedding"))
        self._claims: deque[_Claim] = deque()
        self._closing = False

    @asynccontextmanager
    async def lease(self, card: ModelCard) -> AsyncGenerator[Link, None]:
        """Hold a model in memory. Leaving gives it back at once, without waiting.

        Raises:
            ModelUnavailable: it cannot be loaded, or there was no place for it in time.
        """
        resident = await self._claim(card)
        try:
            yield await resident.supervisor.ready()
        finally:
            self._release(resident)

    async def load(self, card: ModelCard) -> None:
        """Bring a model into memory; returns when it is ready.

        Raises:
            ModelUnavailable: it cannot be loaded; the message says why.
        """
        async with self.lease(card):
            pass

    def hosted(self) -> tuple[HostedModel, ...]:
        """Every model that was asked for since the start, with its phase; answers at once."""
        return tuple(resident.supervisor.hosted(resident.leases) for resident in self._residents.values())

    async def inspect(self) -> tuple[HostedModel, ...]:
        """As `hosted`, with a fresh status from every live worker (waits at most one second)."""
        links = [resident.supervisor.link for resident in self._residents.values()]
        answers = {link.inspect() for link in links if link}
        if answers:
            await asyncio.wait(answers, timeout=_INSPECTION_SECONDS)
        return self.hosted()

    async def close(self) -> None:
        """Refuse whoever waits, let every worker finish what it has begun, and end them all."""
        self._closing = True
        for claim in self._claims:
            if not claim.granted.done():
                claim.granted.set_result(None)
        self._claims.clear()
        for place in self._places:
            self._give(place, None)
        movers = {place.mover for place in self._places if place.mover}
        if movers:
            await asyncio.wait(movers)

    # -------------------------------------------------------------- leases

    async def _claim(self, card: ModelCard) -> _Resident:
        if self._closing:
            raise ModelUnavailable(_CLOSING)
        self._residents.setdefault(card.name, self._new_resident(card))
        claim = _Claim(card)
        self._claims.append(claim)
        self._grant()
        try:
            async with asyncio.timeout(self._settings.load_timeout_seconds):
                resident = await claim.granted
        except BaseException as error:
            self._withdraw(claim)
            if isinstance(error, TimeoutError):
                raise ModelUnavailable(self._no_place(card)) from None
            raise
        if resident is None:
            raise ModelUnavailable(_CLOSING)
        return resident

    def _withdraw(self, claim: _Claim) -> None:
        """Take a claim out of the queue, or give its lease back if that was granted meanwhile."""
        if claim in self._claims:
            self._claims.remove(claim)
            self._grant()
        elif not claim.granted.cancelled() and (resident := claim.granted.result()):
            self._release(resident)

    def _release(self, resident: _Resident) -> None:
        resident.leases -= 1
        resident.used_at = asyncio.get_running_loop().time()
        self._grant()

    def _grant(self) -> None:
        """Grant claims from the head of the queue for as long as there is a place for each."""
        while self._claims:
            resident = self._placed(self._claims[0].card)
            if resident is None:
                return
            claim = self._claims.popleft()
            if not claim.granted.done():
                resident.leases += 1
                claim.granted.set_result(resident)

    # -------------------------------------------------------------- places

    def _placed(self, card: ModelCard) -> _Resident | None:
        """The model with a place of its own, made free for it if need be; None while all are leased."""
        resident = self._residents[card.name]
        home = next((place for place in self._places if place.wanted is resident), None)
        if home is not None and resident.supervisor.card == card:
            return resident
        suited = tuple(place for place in self._places if place.purpose == card.purpose)
        place = self._vacant((home,) if home else suited)
        if place is None:
            return None
        if resident.supervisor.card != card:
            resident = self._residents[card.name] = self._new_resident(card)
        self._give(place, resident)
        return resident

    def _vacant(self, places: "tuple[_Place, ...]") -> _Place | None:
        """An empty place, else the one whose model was used least recently and is not leased."""
        free = [place for place in places if place.wanted is None or not place.wanted.leases]
        return min(free, key=lambda place: place.wanted.used_at if place.wanted else -1.0, default=None)

    def _give(self, place: _Place, resident: _Resident | None) -> None:
        place.wanted = resident
        if place.mover is None or place.mover.done():
            place.mover = asyncio.create_task(self._move_in(place), name="change of resident model")

    async def _move_in(self, place: _Place) -> None:
        """Make the model inside the one that is wanted; who left has exited before the next one loads."""
        while place.inside is not place.wanted:
            if place.inside is not None:
                await place.inside.supervisor.stop()
                place.inside = None
            elif (resident := place.wanted) is not None:
                # It may still be leaving another place.
                await resident.supervisor.stop()
                if place.wanted is resident:
                    resident.supervisor.start()
                    place.inside = resident

    def _new_resident(self, card: ModelCard) -> _Resident:
        return _Resident(Supervisor(card, self._command, self._settings))

    def _no_place(self, card: ModelCard) -> str:
        return (
            f"There was no place for the model '{card.name}' within "
            f"{self._settings.load_timeout_seconds:g} seconds: every place for such a model is held by one "
            "that is answering. Send the request again later."
        )
