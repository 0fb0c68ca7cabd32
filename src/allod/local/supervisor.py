"""One model's worker through all its lives: load, serve, die, come back, stop."""

import asyncio
import logging
from dataclasses import dataclass
from enum import Enum, auto

from allod.core.card import ModelCard
from allod.core.errors import ModelUnavailable
from allod.core.hosting import HostedModel
from allod.core.messages import Drain, LoadFailed, Ready
from allod.local.link import Link
from allod.local.phases import SHOWN, Phase, move
from allod.local.process import Worker, WorkerCommand, start_worker
from allod.local.settings import LocalSettings

_BACKOFF_CEILING_SECONDS = 30.0
_LOAD_DEATHS_ALLOWED = 3
_WATCHES_PER_STALL = 8
_EXIT_PATIENCE_SECONDS = 10.0
"""How long a worker that is on its way out may take to give its memory back."""

_Sign = asyncio.Future[Ready | LoadFailed] | asyncio.Task[str]

_STOPPED = "The model was stopped before the answer was complete. Send the request again."
_AGAIN = "it is being started again. Send the request again."
_BROKE = "The model's supervisor broke; the server's log has the details."

_log = logging.getLogger(__name__)


class _How(Enum):
    """Whether a life ended as asked, for good, or so that another one should follow."""

    STOPPED = auto()
    FAILED = auto()
    DIED = auto()


@dataclass(frozen=True, slots=True)
class _Ending:
    """The end of one life.

    Attributes:
        how: see there.
        words: what those who wait are told.
        patience_seconds: how long the process may take to exit by itself.
        is_stuck: it will not; its stack is worth having before it is killed.
    """

    how: _How
    words: str
    patience_seconds: float = _EXIT_PATIENCE_SECONDS
    is_stuck: bool = False


class Supervisor:
    """Keeps one model's worker alive from `start` to `stop`.

    A worker that dies is started again after a wait that doubles each time, until one has lived for
    half a minute. A worker that says why it cannot load, loads too long, or dies for the third time
    before it is ready has failed: then nothing happens until someone asks for the model again.

    Attributes:
        card: the model.
        restarts: how often a worker was started again after a death.
        exit_code: how the newest worker that ended did so; negative for a signal.
    """

    def __init__(self, card: ModelCard, command: WorkerCommand, settings: LocalSettings) -> None:
        self.card = card
        self.restarts = 0
        self.exit_code: int | None = None
        self._command = command
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.COLD
        self._worker: Worker | None = None
        self._life: asyncio.Task[None] | None = None
        self._stop_asked: asyncio.Future[None] = self._loop.create_future()
        self._arrival: asyncio.Future[Link | str] = self._loop.create_future()
        self._trouble = ""
        self._setbacks = 0
        self._retry_at = 0.0

    # -------------------------------------------------------------- what others ask of it

    @property
    def pid(self) -> int | None:
        """The living worker's process id."""
        return self._worker.pid if self._worker else None

    @property
    def link(self) -> Link | None:
        """The link to a worker that can answer now."""
        return self._worker.link if self._worker and self._phase is Phase.READY else None

    def start(self) -> None:
        """Begin to load, if the model is cold or has failed."""
        if self._phase not in (Phase.COLD, Phase.FAILED):
            return
        self._move(Phase.LOADING)
        self._stop_asked = self._loop.create_future()
        self._life = asyncio.create_task(self._live(), name=f"supervisor of {self.card.name}")

    async def ready(self) -> Link:
        """Wait until the model can answer; a failed one is tried again once its time of rest is over.

        Raises:
            ModelUnavailable: it cannot be loaded, or not in time.
        """
        if self._phase is Phase.FAILED and self._loop.time() >= self._retry_at:
            self.start()
        arrival = self._arrival
        if not arrival.done():
            await asyncio.wait({arrival}, timeout=self._settings.load_timeout_seconds)
        if not arrival.done():
            raise ModelUnavailable(
                f"The model '{self.card.name}' is not ready after "
                f"{self._settings.load_timeout_seconds:g} seconds. Send the request again later."
            )
        outcome = arrival.result()
        if isinstance(outcome, Link):
            return outcome
        wait_seconds = max(1, round(self._retry_at - self._loop.time()))
        raise ModelUnavailable(outcome, retry_after_seconds=wait_seconds)

    async def stop(self) -> None:
        """Let the worker finish what it has begun, within the grace, and end it; then it is cold."""
        if self._phase is Phase.FAILED:
            self._move(Phase.COLD)
        if self._phase is Phase.COLD:
            return
        if self._phase is not Phase.STOPPING:
            if not self._arrival.done():
                self._arrival.set_result(_STOPPED)
            self._move(Phase.STOPPING)
            self._stop_asked.set_result(None)
        if self._life is not None:
            await asyncio.wait({self._life})

    def hosted(self, requests: int) -> HostedModel:
        """What is known of the model now; `requests` is how many hold a lease on it."""
        link = self._worker.link if self._worker else None
        ready = link.loaded.result() if link and link.loaded.done() else None
        loading = link.loading if link and not ready else None
        return HostedModel(
            name=self.card.name,
            phase=SHOWN[self._phase],
            detail=loading.stage if loading else self._trouble,
            fraction=loading.fraction if loading else None,
            facts=ready.facts if isinstance(ready, Ready) else None,
            status=link.status if link else None,
            requests=requests,
            restarts=self.restarts,
        )

    # -------------------------------------------------------------- one life after another

    async def _live(self) -> None:
        try:
            while await self._one_life() is _How.DIED:
                await self._until(timeout_seconds=self._backoff_seconds())
                if self._stop_asked.done():
                    break
                self.restarts += 1
        except Exception:  # noqa: BLE001 - task boundary: a fault of ours must not leave requests waiting
            _log.exception("the supervisor of %s broke", self.card.name)
            if self._worker is not None:
                self._worker.link.lose(_BROKE)
                self._worker.link.close()
            self._give_up(_BROKE)
        if self._phase is Phase.STOPPING:
            self._move(Phase.COLD)

    async def _one_life(self) -> _How:
        try:
            worker = await start_worker(self._command(self.card))
        except OSError as error:
            self._give_up(f"The model's worker cannot be started: {error}.")
            return _How.FAILED
        self._worker = worker
        ending = await self._load(worker) or await self._attend(worker)
        worker.link.lose(ending.words)
        if ending.how is _How.DIED:
            self._note_death(ending.words)
        if ending.is_stuck:
            await worker.kill_after_dump()
        self.exit_code = await worker.end(ending.patience_seconds)
        self._worker = None
        if ending.how is _How.FAILED:
            self._give_up(ending.words)
        return ending.how

    async def _load(self, worker: Worker) -> _Ending | None:
        """See a worker through loading; None when it is ready."""
        limit_seconds = self._settings.load_timeout_seconds
        loaded = worker.link.loaded
        await self._until(loaded, worker.gone, timeout_seconds=limit_seconds)
        if self._stop_asked.done():
            return _Ending(_How.STOPPED, _STOPPED, patience_seconds=0)
        if loaded.done():
            report = loaded.result()
            if isinstance(report, LoadFailed):
                return _Ending(_How.FAILED, report.message)
            self._trouble = ""
            self._move(Phase.READY, worker.link)
            return None
        if worker.gone.done():
            words = f"The model's worker stopped while loading ({worker.gone.result()})"
            if self._setbacks + 1 >= _LOAD_DEATHS_ALLOWED:
                return _Ending(_How.FAILED, f"{words}, and so did those before it.")
            return _Ending(_How.DIED, f"{words}; {_AGAIN}")
        return _Ending(
            _How.FAILED, f"Loading the model took longer than {limit_seconds:g} seconds.", patience_seconds=0
        )

    async def _attend(self, worker: Worker) -> _Ending:
        """See a ready worker to its end."""
        ready_at = self._loop.time()
        limit_seconds = self._settings.stall_timeout_seconds
        while worker.link.silent_seconds() < limit_seconds:
            await self._until(worker.gone, timeout_seconds=limit_seconds / _WATCHES_PER_STALL)
            if self._stop_asked.done():
                return await self._wind_down(worker)
            if worker.gone.done():
                break
        if self._loop.time() - ready_at > _BACKOFF_CEILING_SECONDS:
            self._setbacks = 0
        if worker.gone.done():
            words = f"The model's worker stopped unexpectedly ({worker.gone.result()}); {_AGAIN}"
            return _Ending(_How.DIED, words)
        words = f"The model's worker made no progress for {limit_seconds:g} seconds; {_AGAIN}"
        return _Ending(_How.DIED, words, is_stuck=True)

    async def _wind_down(self, worker: Worker) -> _Ending:
        worker.link.send(Drain())
        await asyncio.wait({worker.gone}, timeout=self._settings.stop_grace_seconds)
        patience_seconds = _EXIT_PATIENCE_SECONDS if worker.gone.done() else 0
        return _Ending(_How.STOPPED, _STOPPED, patience_seconds)

    # -------------------------------------------------------------- what changes

    def _note_death(self, words: str) -> None:
        _log.warning("%s: %s", self.card.name, words)
        self._trouble = words
        self._setbacks += 1
        if self._phase in (Phase.LOADING, Phase.READY):
            self._move(Phase.RESTARTING)

    def _give_up(self, words: str) -> None:
        _log.error("%s: %s", self.card.name, words)
        self._trouble = words
        self._setbacks += 1
        self._retry_at = self._loop.time() + self._backoff_seconds()
        if self._phase is not Phase.STOPPING:
            self._move(Phase.FAILED, words)

    def _move(self, target: Phase, arrival: Link | str | None = None) -> None:
        """Change the phase. Ready and failed have an arrival to hand out; in the others it is awaited."""
        self._phase = move(self._phase, target)
        if self._arrival.done():
            self._arrival = self._loop.create_future()
        if arrival is not None:
            self._arrival.set_result(arrival)

    def _backoff_seconds(self) -> float:
        doublings = min(self._setbacks, 16) - 1
        return min(_BACKOFF_CEILING_SECONDS, self._settings.restart_backoff_seconds * 2**doublings)

    async def _until(self, *signs: _Sign, timeout_seconds: float) -> None:
        """Wait for one of the signs, a request to stop, or the time."""
        await asyncio.wait(
            {*signs, self._stop_asked}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
