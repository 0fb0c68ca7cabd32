"""A real BLAS for MLX on the CPU.

MLX's Linux wheel links the reference BLAS. Loading a tuned library with global visibility before
`mlx` is imported replaces its symbols; a (128, 576) x (576, 1536) float32 product goes from 116 ms to
1.7 ms on two cores. This module therefore imports nothing of MLX.
"""

import ctypes
import ctypes.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from allod.device import kernels, panels
from allod.device.settings import DeviceSettings

_SONAMES = ("libopenblas.so.0", "libmkl_rt.so.2", "libmkl_rt.so.3", "libblis.so.4")
# Kernels of OpenBLAS that use AVX2 or more. The two below are in every build; beside them what a processor
# must be able to do for them, in the words of Linux.
_MODERN_CORES = frozenset({"Haswell", "Zen", "Excavator", "SkylakeX", "Cooperlake", "SapphireRapids"})
_NEEDED_ABILITIES = {
    "SkylakeX": frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    "Haswell": frozenset({"avx2", "fma"}),
}
# The library settles on its kernels while it is loaded, so another process asks for them.
_TELL_CORE = """\
import ctypes, sys
tell = ctypes.CDLL(sys.argv[1]).openblas_get_corename
tell.restype = ctypes.c_char_p
print(tell().decode())
"""
INSTALL_HINT = "install a tuned BLAS for a many times faster CPU (Debian: apt install libopenblas0-pthread)"


def matters(kind: str) -> bool:
    """Whether MLX on the device of this kind (`device.kind`) may need one: elsewhere it brings its own."""
    return sys.platform == "linux" and kind in ("auto", "cpu")


def environment(settings: DeviceSettings) -> Mapping[str, str]:
    """What OpenBLAS is to find in the environment when it is loaded: other kernels, where it takes old ones.

    A version knows the processors of its day, and may fall back to kernels of 2004 on a later one: Debian's
    0.3.21 takes `Prescott` for an Emerald Rapids, and prompts take twice as long.
    """
    if not matters(settings.kind) or settings.blas == "none":
        return {}
    names = _candidates() if settings.blas == "auto" else (settings.blas,)
    chosen = next(filter(None, (_chosen_core(name) for name in names if "openblas" in Path(name).name)), None)
    core = better_core(chosen, abilities()) if chosen else None
    return {"OPENBLAS_CORETYPE": core} if core else {}


def prepare(
    settings: DeviceSettings, offer: Callable[[Mapping[str, str]], None], kernels_folder: str = ""
) -> str | None:
    """Load a BLAS where MLX may compute on the CPU and brings none of its own; its name, as `preload` says.

    Args:
        settings: which device and library.
        offer: puts into the environment what the owner has not (`config.offer`).
        kernels_folder: where what was compiled is kept; empty leaves all products to the BLAS.

    Raises:
        OSError: the owner named a library that cannot be loaded.
    """
    if not matters(settings.kind):
        return None
    offer(environment(settings))
    has_panels = settings.panels == "auto" and kernels_folder
    return preload(settings.blas, kernels.cpu_folder(kernels_folder) if has_panels else None)


def preload(choice: str, panels_folder: Path | None = None) -> str | None:
    """Load a BLAS into the process and return its name and version, or None when none was found or wanted.

    Args:
        choice: `auto`, `none`, or the path of a shared library.
        panels_folder: where our own products are kept, which stand in front of it; None leaves them out.

    Raises:
        OSError: the named library cannot be loaded.
    """
    if choice == "none":
        return None
    if choice != "auto":
        return _load(choice, panels_folder)
    for name in _candidates():
        try:
            return _load(name, panels_folder)
        except OSError:
            continue
    return None


def _candidates() -> tuple[str, ...]:
    found = ctypes.util.find_library("openblas")
    return (*_SONAMES, found) if found else _SONAMES


def better_core(chosen: str, abilities: frozenset[str]) -> str | None:
    """The kernels that OpenBLAS should take instead of those it chose; None when it chose well.

    Args:
        chosen: its name for the kernels that it chose.
        abilities: what the processor can do, in the words of Linux.
    """
    if chosen in _MODERN_CORES:
        return None
    return next((core for core, needed in _NEEDED_ABILITIES.items() if needed <= abilities), None)


def _chosen_core(name: str) -> str | None:
    asked = [sys.executable, "-I", "-S", "-c", _TELL_CORE, name]
    told = subprocess.run(asked, capture_output=True, text=True, check=False)
    return told.stdout.strip() if told.returncode == 0 else None


@cache
def abilities() -> frozenset[str]:
    """What the processor can do, in the words of Linux."""
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def _load(name: str, panels_folder: Path | None) -> str:
    library = ctypes.CDLL(name)
    has_panels = panels_folder is not None and panels.load(panels_folder, library, abilities())
    ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    return f"{_words(name, library)}{' behind panels' if has_panels else ''}"


def _words(name: str, library: ctypes.CDLL) -> str:
    try:
        tell = library.openblas_get_config
    except AttributeError:
        return Path(name).name
    tell.restype = ctypes.c_char_p
    return f"{Path(name).name} ({tell().decode(errors='replace').strip()})"
