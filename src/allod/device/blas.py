"""A real BLAS for MLX on the CPU.

MLX's Linux wheel links the reference BLAS. Loading a tuned library with global visibility before
`mlx` is imported replaces its symbols; a (128, 576) x (576, 1536) float32 product goes from 116 ms to
1.7 ms on two cores. This module therefore imports nothing of MLX.
"""

import ctypes
import ctypes.util
import sys
from pathlib import Path

from allod.device.settings import DeviceSettings

_SONAMES = ("libopenblas.so.0", "libmkl_rt.so.2", "libmkl_rt.so.3", "libblis.so.4")
INSTALL_HINT = "install a tuned BLAS for a many times faster CPU (Debian: apt install libopenblas0-pthread)"


def matters(kind: str) -> bool:
    """Whether MLX on the device of this kind (`device.kind`) may need one: elsewhere it brings its own."""
    return sys.platform == "linux" and kind in ("auto", "cpu")


def prepare(settings: DeviceSettings) -> str | None:
    """Load a BLAS where MLX may compute on the CPU and brings none of its own; its name, as `preload` says.

    Raises:
        OSError: the owner named a library that cannot be loaded.
    """
    if matters(settings.kind):
        return preload(settings.blas)
    return None


def preload(choice: str) -> str | None:
    """Load a BLAS into the process and return its name and version, or None when none was found or wanted.

    Args:
        choice: `auto`, `none`, or the path of a shared library.

    Raises:
        OSError: the named library cannot be loaded.
    """
    if choice == "none":
        return None
    if choice != "auto":
        return _load(choice)
    for name in _candidates():
        try:
            return _load(name)
        except OSError:
            continue
    return None


def _candidates() -> tuple[str, ...]:
    found = ctypes.util.find_library("openblas")
    return (*_SONAMES, found) if found else _SONAMES


def _load(name: str) -> str:
    library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    try:
        tell = library.openblas_get_config
    except AttributeError:
        return Path(name).name
    tell.restype = ctypes.c_char_p
    return f"{Path(name).name} ({tell().decode(errors='replace').strip()})"
