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


def prepare(settings: DeviceSettings) -> str | None:
    """Load a BLAS where MLX may compute on the CPU and brings none of its own; its name, as `preload` says.

    Raises:
        OSError: the owner named a library that cannot be loaded.
    """
    if sys.platform == "linux" and settings.kind in ("auto", "cpu"):
        return preload(settings.blas)
    return None


def preload(choice: str) -> str | None:
    """Load a BLAS into the process and return its name, or None when none was found or wanted.

    Args:
        choice: `auto`, `none`, or the path of a shared library.

    Raises:
        OSError: the named library cannot be loaded.
    """
    if choice == "none":
        return None
    if choice != "auto":
        _load(choice)
        return Path(choice).name
    for name in _candidates():
        try:
            _load(name)
        except OSError:
            continue
        return Path(name).name
    return None


def _candidates() -> tuple[str, ...]:
    found = ctypes.util.find_library("openblas")
    return (*_SONAMES, found) if found else _SONAMES


def _load(name: str) -> None:
    ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
