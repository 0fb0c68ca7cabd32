"""Say how the house is: alive, ready, and what each model is doing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from allod.core.hosting import HostedModel, HostPhase
from allod.core.ids import ModelName
from allod.core.ports import ModelHost

Health = Literal["ok", "degraded"]

_SICK: frozenset[HostPhase] = frozenset({"restarting", "failed"})


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What one model is doing, in numbers a person can act on.

    Attributes:
        phase: where its worker is.
        detail: the loading stage, or why it failed.
        fraction: how far loading is, 0 to 1, where that can be told.
        restarts: how often its worker had to be started again.
        requests: requests that hold a lease on it.
        rows: answers being decoded; None until the worker has spoken.
        queued: requests that wait.
        active_bytes: what MLX holds for its weights and states.
        buffer_bytes: freed buffers that MLX keeps for reuse.
        picture_bytes: pictures that are kept or on their way.
        seen_pictures: how many pictures were looked at since the worker started; one that is kept is not
            looked at again.
        prefix_bytes: what is kept of prompts and answers, to be read again by prompts that begin like them.
        disk_bytes: what is kept of them on disk.
        drafted_tokens: what answers were given to guess with, since the worker started.
        accepted_tokens: how much of it they said.
        guessed_tokens: how much of the former a draft model made.
        accepted_guessed_tokens: how much of that they said.
    """

    name: ModelName
    phase: HostPhase
    detail: str
    fraction: float | None
    restarts: int
    requests: int
    rows: int | None
    queued: int | None
    active_bytes: int | None
    buffer_bytes: int | None
    picture_bytes: int | None = None
    seen_pictures: int | None = None
    prefix_bytes: int | None = None
    disk_bytes: int | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None
    guessed_tokens: int | None = None
    accepted_guessed_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests are answered without waiting for a model, and what stands in the way.

    Attributes:
        ready: every model that must be resident is ready.
        waiting: one of those that are not is on its way; coming back later makes sense.
        models: every model that was asked for since the start.
    """

    ready: bool
    waiting: bool
    models: tuple[ModelStatus, ...]


class StatusService:
    """What the house says of itself."""

    def __init__(self, host: ModelHost, resident: Sequence[ModelName] = ()) -> None:
        self._host = host
        self._resident = tuple(resident)

    def health(self) -> Health:
        """`degraded` when any model is restarting or failed; answers at once, whatever the workers do."""
        return "degraded" if any(model.phase in _SICK for model in self._host.hosted()) else "ok"

    def models(self) -> tuple[ModelStatus, ...]:
        """What was last heard of every model; answers at once."""
        return tuple(_status(model) for model in self._host.hosted())

    async def readiness(self) -> Readiness:
        """Readiness, with fresh numbers from the workers (waits at most a second for them)."""
        hosted = await self._host.inspect()
        phases: dict[ModelName, HostPhase] = {model.name: model.phase for model in hosted}
        needed = [phases.get(name, "cold") for name in self._resident]
        return Readiness(
            ready=all(phase == "ready" for phase in needed),
            waiting="failed" not in needed and any(phase != "ready" for phase in needed),
            models=tuple(_status(model) for model in hosted),
        )


def _status(model: HostedModel) -> ModelStatus:
    report = model.status
    return ModelStatus(
        name=model.name,
        phase=model.phase,
        detail=model.detail,
        fraction=model.fraction,
        restarts=model.restarts,
        requests=model.requests,
        rows=report.rows if report else None,
        queued=report.queued if report else None,
        active_bytes=report.memory.active_bytes if report else None,
        buffer_bytes=report.memory.cached_bytes if report else None,
        picture_bytes=report.picture_bytes if report else None,
        seen_pictures=report.seen_pictures if report else None,
        prefix_bytes=report.prefix_bytes if report else None,
        disk_bytes=report.disk_bytes if report else None,
        drafted_tokens=report.drafted_tokens if report else None,
        accepted_tokens=report.accepted_tokens if report else None,
        guessed_tokens=report.guessed_tokens if report else None,
        accepted_guessed_tokens=report.accepted_guessed_tokens if report else None,
    )
