"""Looking for a BLAS: what was found is told with its version, and nothing found is no error."""

import ctypes
import ctypes.util
import sys
from pathlib import Path

import pytest

from allod.device import blas


def test_nothing_is_loaded_against_the_owners_will() -> None:
    """`none` loads none."""
    assert blas.preload("none") is None


def test_a_library_that_was_named_must_be_there(tmp_path: Path) -> None:
    """A wrong path is an error, not another library."""
    with pytest.raises(OSError, match="absent"):
        blas.preload(str(tmp_path / "absent.so"))


@pytest.mark.skipif(not ctypes.util.find_library("openblas"), reason="there is no OpenBLAS here")
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
