"""What MLX finds in the environment: how it launches kernels, and where it keeps them."""

from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pytest

from allod.config import offer
from allod.device.kernels import environment, prepare
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


def test_metal_is_told_nothing() -> None:
    """What only CUDA and the CPU read is not set where it is not used."""
    assert environment(DeviceSettings(kind="metal"), "/home/kernels") == {}


@pytest.mark.parametrize("kind", ["cpu", "auto"])
def test_what_is_compiled_for_a_cpu_is_the_owners_alone(tmp_path: Path, kind: Literal["cpu", "auto"]) -> None:
    """MLX loads what it finds there by name: nobody else may put anything into the folder."""
    offered: dict[str, str] = {}
    for _ in range(2):
        prepare(DeviceSettings(kind=kind), str(tmp_path / "home" / "kernels"), offered.update)
    place = tmp_path / "home" / "kernels" / "cpu"
    assert offered["TMPDIR"] == str(place)
    assert place.stat().st_mode & 0o777 == 0o700
    assert ("MLX_USE_CUDA_GRAPHS" in offered) == (kind == "auto")


def test_where_no_folder_can_be_made_mlx_keeps_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file is in the way: that is said, and the rest is told all the same."""
    (tmp_path / "kernels").write_bytes(b"")
    offered: dict[str, str] = {}
    prepare(DeviceSettings(kind="auto"), str(tmp_path / "kernels"), offered.update)
    assert "TMPDIR" not in offered
    assert offered["MLX_USE_CUDA_GRAPHS"] == "0"
    assert "kernels for the CPU are kept in the system's folder" in caplog.text


def test_what_the_owner_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is there keeps its value; one that is not gets ours."""
    variables = {"SET": "owner's"}
    monkeypatch.setattr("os.environ", variables)
    offer({"SET": "ours", "UNSET": "ours"})
    assert variables == {"SET": "owner's", "UNSET": "ours"}
