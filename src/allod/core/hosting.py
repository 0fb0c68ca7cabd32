"""What the house knows of a model that is, or was, in memory."""

from dataclasses import dataclass
from typing import Literal

from allod.core.ids import ModelName
from allod.core.messages import Status
from allod.core.step import ModelFacts

HostPhase = Literal["cold", "loading", "ready", "restarting", "stopping", "failed"]


@dataclass(frozen=True, slots=True)
class HostedModel:
    """One model and its worker.

    Attributes:
        name: catalogue key.
        phase: where its worker is; `restarting` means it died and is on its way back.
        detail: the loading stage, or why it failed; empty when there is nothing to say.
        fraction: how far loading is, 0 to 1, where that can be told.
        facts: what was measured on it, once it was ready.
        status: the worker's last account of itself.
        requests: requests that hold a lease on it now.
        restarts: how often its worker had to be started again.
    """

    name: ModelName
    phase: HostPhase
    detail: str = ""
    fraction: float | None = None
    facts: ModelFacts | None = None
    status: Status | None = None
    requests: int = 0
    restarts: int = 0
