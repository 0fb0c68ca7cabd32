"""Our own products: compiled once, for any processor, and left out where they cannot be made."""

import ctypes
import ctypes.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from allod.device import blas, panels

needs_both = pytest.mark.skipif(
    sys.platform != "linux" or not ctypes.util.find_library("openblas") or not panels.compiler(),
    reason="there is no OpenBLAS, or no compiler",
)
IN_FRONT = """\
import ctypes, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from allod.device import panels
panels.OPTIONS = tuple(sys.argv[2].split())
library = ctypes.CDLL(sys.argv[3])
assert panels.load(Path(sys.argv[1]), library, frozenset())
sgemm = ctypes.CDLL(None).cblas_sgemm
mark = float(np.nextafter(np.float32(1), np.float32(2)))
def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)
def multiply(alpha, x, weight, out):
    rows, inputs = x.shape
    sgemm(101, 111, 112, rows, len(weight), inputs, ctypes.c_float(alpha), pointer(x), inputs,
          pointer(weight), inputs, ctypes.c_float(0), pointer(out), len(weight))
def go_through(seed):
    random = np.random.default_rng(seed)
    for rows in (1, 2, 3, 4, 5, 7, 12, 13, 29):
        for count, inputs in ((1, 1), (3, 17), (8, 576), (40, 64)):
            sizes = (rows, inputs), (32 * count, inputs)
            x, weight = (random.normal(size=size).astype(np.float32) for size in sizes)
            laid = np.ascontiguousarray(weight.reshape(count, 32, inputs).transpose(0, 2, 1))
            for alpha, given in ((mark, laid.reshape(weight.shape)), (1.0, weight)):
                out = np.full((rows, len(weight)), np.nan, np.float32)
                multiply(alpha, x, given, out)
                assert np.allclose(out, x @ weight.T, rtol=1e-4, atol=1e-4), (alpha, rows, count, inputs)
go_through(1)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(go_through, range(2, 30)))
print("alike")
"""


@needs_both
@pytest.mark.parametrize("processor", ["native", "x86-64-v4", "x86-64-v3", "x86-64"])
def test_products_are_right_on_any_processor(processor: str, tmp_path: Path) -> None:
    """Tiles differ with its registers; what is not for us goes to the BLAS; several may compute at once."""
    if processor != "native" and not _can_run(processor):
        pytest.skip(f"this processor is no {processor}")
    name = ctypes.util.find_library("openblas")
    options = f"-O3 -march={processor} -shared -fPIC -pthread"
    found = subprocess.run(
        [sys.executable, "-c", IN_FRONT, str(tmp_path), options, str(name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.returncode) == ("alike\n", 0), found.stderr


def _can_run(processor: str) -> bool:
    needed = {"x86-64": {"sse2"}, "x86-64-v3": {"avx2", "fma", "bmi2"}, "x86-64-v4": {"avx512f", "avx512vl"}}
    return needed[processor] <= blas.abilities()


@needs_both
def test_it_is_compiled_once(tmp_path: Path) -> None:
    """The next load finds it; for a processor that can do something else it is made anew."""
    able = frozenset({"sse2"})
    made = panels.compiled(tmp_path, able)
    before = made.stat().st_mtime_ns
    assert panels.compiled(tmp_path, able) == made
    assert made.stat().st_mtime_ns == before
    assert panels.compiled(tmp_path, able | {"avx2"}) != made
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(not ctypes.util.find_library("openblas"), reason="there is no OpenBLAS here")
@pytest.mark.parametrize("compiler", [None, "/bin/false"])
def test_without_a_compiler_all_is_left_to_the_blas(
    compiler: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is slower, and nothing else; the log says what to install."""
    monkeypatch.setattr(panels, "compiler", lambda: compiler)
    with caplog.at_level(logging.WARNING):
        assert not panels.load(tmp_path, ctypes.CDLL(ctypes.util.find_library("openblas")), frozenset())
    assert "left to the BLAS" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_library_without_products_has_none_in_front(tmp_path: Path) -> None:
    """Whatever the owner named."""
    assert not panels.load(tmp_path, ctypes.CDLL(ctypes.util.find_library("m")), frozenset())
