"""The soft limit of open files is raised as far as it is needed and allowed."""

import resource

import pytest

from allod.api.descriptors import allowed_descriptors


class System:
    """Limits as a system has them."""

    def __init__(self, soft: int, hard: int, *, refuses: bool = False) -> None:
        self.limits = (soft, hard)
        self._refuses = refuses

    def get(self, which: int) -> tuple[int, int]:
        return self.limits

    def set(self, which: int, limits: tuple[int, int]) -> None:
        if self._refuses:
            raise ValueError("not so many")
        self.limits = limits


@pytest.mark.parametrize(
    ("system", "allowed", "limits"),
    [
        (System(256, 5000), 1000, (1000, 5000)),
        (System(256, resource.RLIM_INFINITY), 1000, (1000, resource.RLIM_INFINITY)),
        (System(256, 700), 700, (700, 700)),
        (System(4096, 5000), 1000, (4096, 5000)),
        (System(resource.RLIM_INFINITY, resource.RLIM_INFINITY), 1000, (resource.RLIM_INFINITY,) * 2),
        (System(256, 5000, refuses=True), 256, (256, 5000)),
    ],
)
def test_limits(
    monkeypatch: pytest.MonkeyPatch, system: System, allowed: int, limits: tuple[int, int]
) -> None:
    """Raised, never lowered, within the hard limit; where the system refuses, it stays as it was."""
    monkeypatch.setattr(resource, "getrlimit", system.get)
    monkeypatch.setattr(resource, "setrlimit", system.set)
    assert allowed_descriptors(1000) == allowed
    assert system.limits == limits
