"""Looking for a BLAS: what was found is told with its version, and nothing found is no error."""

import ctypes
import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from allod.device import blas
from allod.device.settings import DeviceSettings

OF_2017 = frozenset({"sse2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})
OF_2013 = frozenset({"sse2", "avx", "avx2", "fma"})
OF_2004 = frozenset({"sse2"})
needs_openblas = pytest.mark.skipif(
    not ctypes.util.find_library("openblas"), reason="there is no OpenBLAS here"
)


def test_nothing_is_loaded_against_the_owners_will() -> None:
    """`none` loads none."""
    assert blas.preload("none") is None


def test_a_library_that_was_named_must_be_there(tmp_path: Path) -> None:
    """A wrong path is an error, not another library."""
    with pytest.raises(OSError, match="absent"):
        blas.preload(str(tmp_path / "absent.so"))


@needs_openblas
def test_what_was_found_is_told_with_its_version() -> None:
    """Timings are kept for a version: another one may multiply another way."""
    found = blas.preload("auto")
    assert found is not None
    assert "OpenBLAS 0." in found


@pytest.mark.skipif(not ctypes.util.find_library("m"), reason="there is no libm here")
def test_a_library_without_a_version_is_told_by_its_name() -> None:
    """Only OpenBLAS is asked for one."""
    name = ctypes.util.find_library("m")
    assert name is not None
    assert blas.preload(name) == Path(name).name


@pytest.mark.parametrize("kind", ["auto", "cpu", "cuda", "metal"])
def test_a_blas_matters_where_mlx_brings_a_slow_one(kind: str) -> None:
    """On Linux, where the CPU may compute."""
    assert blas.matters(kind) == (sys.platform == "linux" and kind in ("auto", "cpu"))


@pytest.mark.parametrize(
    ("chosen", "abilities", "better"),
    [
        ("Prescott", OF_2017, "SkylakeX"),
        ("Prescott", OF_2013, "Haswell"),
        ("Prescott", OF_2004, None),
        ("Sandybridge", OF_2017 - {"avx512vl"}, "Haswell"),
        ("Haswell", OF_2017, None),
        ("Zen", OF_2017, None),
        ("Cooperlake", OF_2017, None),
        ("ARMV8", frozenset[str](), None),
    ],
)
def test_old_kernels_give_way_to_those_that_the_processor_can_run(
    chosen: str, abilities: frozenset[str], better: str | None
) -> None:
    """Kernels that use AVX2 or more are the library's to choose: it measured, and this does not."""
    assert blas.better_core(chosen, abilities) == better


@needs_openblas
@pytest.mark.parametrize(
    "variables", [{}, {"OPENBLAS_CORETYPE": "Prescott"}], ids=["own choice", "old kernels"]
)
def test_a_library_takes_kernels_that_fit_the_processor(variables: dict[str, str]) -> None:
    """What it is to find in the environment makes it choose what nothing better is known for."""
    beside = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    code = (
        "import os, sys\n"
        "from allod.device import blas\n"
        "from allod.device.settings import DeviceSettings\n"
        "os.environ |= blas.environment(DeviceSettings())\n"
        "print(blas.environment(DeviceSettings()), end='')\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env=beside | variables, check=True, capture_output=True, text=True
    )
    assert told.stdout == "{}"


@pytest.mark.parametrize(
    "settings",
    [DeviceSettings(blas="none"), DeviceSettings(kind="cuda"), DeviceSettings(blas="/absent/openblas.so")],
    ids=["none", "a GPU", "absent"],
)
def test_where_no_openblas_is_loaded_none_is_told_anything(settings: DeviceSettings) -> None:
    """A library that the owner named and that cannot be loaded is an error of loading it."""
    assert blas.environment(settings) == {}
