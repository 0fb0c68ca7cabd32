"""What the house says of itself follows from what its host says of the models."""

from collections.abc import Sequence

import pytest

from allod.core.card import ModelCard
from allod.core.hosting import HostedModel, HostPhase
from allod.core.ids import ModelName
from allod.core.messages import Status
from allod.core.step import MemoryReading
from allod.service.status import StatusService

A, B = ModelName("a"), ModelName("b")


class Host:
    def __init__(self, *models: HostedModel) -> None:
        self._models = models

    def hosted(self) -> Sequence[HostedModel]:
        return self._models

    async def inspect(self) -> Sequence[HostedModel]:
        return self._models

    async def load(self, card: ModelCard) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("phase", "health"),
    [
        ("cold", "ok"),
        ("loading", "ok"),
        ("ready", "ok"),
        ("stopping", "ok"),
        ("restarting", "degraded"),
        ("failed", "degraded"),
    ],
)
def test_health_is_degraded_by_a_sick_model(phase: HostPhase, health: str) -> None:
    """One model that is restarting or failed is enough; loading is no sickness."""
    assert StatusService(Host(HostedModel(A, "ready"), HostedModel(B, phase))).health() == health
    assert StatusService(Host()).health() == "ok"


@pytest.mark.parametrize(
    ("models", "ready", "waiting"),
    [
        ([HostedModel(A, "ready"), HostedModel(B, "ready")], True, False),
        ([HostedModel(A, "ready"), HostedModel(B, "loading")], False, True),
        ([HostedModel(A, "ready")], False, True),
        ([], False, True),
        ([HostedModel(A, "restarting"), HostedModel(B, "ready")], False, True),
        ([HostedModel(A, "loading"), HostedModel(B, "failed")], False, False),
    ],
)
async def test_ready_is_every_resident_model(models: list[HostedModel], ready: bool, waiting: bool) -> None:
    """A model nobody has asked for yet is not ready; waiting makes no sense once one has failed."""
    readiness = await StatusService(Host(*models), [A, B]).readiness()
    assert (readiness.ready, readiness.waiting) == (ready, waiting)


async def test_without_resident_models_the_house_is_ready() -> None:
    """What is loaded on demand stands in nobody's way, even when it failed."""
    assert (await StatusService(Host(HostedModel(A, "failed"))).readiness()).ready


def test_numbers_come_from_the_workers_last_report() -> None:
    """Memory in use and memory kept for reuse are told apart; without a report there is no number."""
    report = Status(
        rows=3,
        prefilling=1,
        queued=2,
        queued_tokens=9,
        reserved_bytes=0,
        memory=MemoryReading(100, 20, 150),
        steps=7,
    )
    silent, spoken = StatusService(
        Host(
            HostedModel(A, "loading", detail="weights", fraction=0.5), HostedModel(B, "ready", status=report)
        )
    ).models()
    assert (silent.rows, silent.queued, silent.active_bytes, silent.buffer_bytes) == (None,) * 4
    assert (silent.detail, silent.fraction) == ("weights", 0.5)
    assert (spoken.rows, spoken.queued, spoken.active_bytes, spoken.buffer_bytes) == (3, 2, 100, 20)
