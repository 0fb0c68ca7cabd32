"""What MLX finds in the environment where it computes on an NVIDIA GPU."""

from importlib.metadata import version
from typing import Literal

import pytest

from allod.config import offer
from allod.device.kernels import environment
from allod.device.settings import DeviceSettings


def test_compiled_kernels_of_each_version_are_kept_apart() -> None:
    """A kernel that an older MLX compiled is not found by a newer one."""
    found = environment(DeviceSettings(kind="cuda"), "/home/kernels")
    assert found["MLX_PTX_CACHE_DIR"] == f"/home/kernels/{version('mlx')}"


def test_without_a_folder_mlx_keeps_its_own_place() -> None:
    """Nothing is said of a folder that nobody named."""
    assert "MLX_PTX_CACHE_DIR" not in environment(DeviceSettings(kind="auto"), "")


def test_kernels_are_launched_one_by_one() -> None:
    """MLX is told not to make graphs of them; an owner's own word comes before ours (`offer`)."""
    assert environment(DeviceSettings(kind="cuda"), "")["MLX_USE_CUDA_GRAPHS"] == "0"


@pytest.mark.parametrize("kind", ["cpu", "metal"])
def test_other_devices_are_told_nothing(kind: Literal["cpu", "metal"]) -> None:
    """What only CUDA reads is not set where it is not used."""
    assert environment(DeviceSettings(kind=kind), "/home/kernels") == {}


def test_what_the_owner_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is there keeps its value; one that is not gets ours."""
    variables = {"SET": "owner's"}
    monkeypatch.setattr("os.environ", variables)
    offer({"SET": "ours", "UNSET": "ours"})
    assert variables == {"SET": "owner's", "UNSET": "ours"}
