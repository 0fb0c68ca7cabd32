"""Our own products on a Linux CPU (`panels.c`): compiled once, and put in front of the BLAS.

MLX calls `cblas_sgemm` of the library that was loaded first with global visibility. So this one is loaded
before the BLAS, and hands on to it whatever it is not made for. It imports nothing of MLX.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

log = logging.getLogger(__name__)

_COMPILERS = ("cc", "gcc", "clang")
OPTIONS = ("-O3", "-march=native", "-shared", "-fPIC", "-pthread")
_NAME = "cblas_sgemm"
_PATIENCE_SECONDS = 60
_NAMED_BY = 16


def load(folder: Path, blas: ctypes.CDLL, abilities: frozenset[str]) -> bool:
    """Put our products in front of a BLAS; False where it has none, or no compiler makes ours.

    Args:
        folder: where the compiled library is kept.
        blas: where all other products go. It is not visible globally yet, or ours are never called.
        abilities: what the processor can do, in the words of Linux; what was compiled for others is left.
    """
    if not hasattr(blas, _NAME):
        return False
    try:
        library = ctypes.CDLL(str(compiled(folder, abilities)), mode=ctypes.RTLD_GLOBAL)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("products are left to the BLAS: %s", error)
        return False
    library.allod_panels_begin(_address_in(blas), ctypes.c_uint(_threads(blas)))
    is_first = _address_in(ctypes.CDLL(None)).value == _address_in(library).value
    if not is_first:
        log.warning("products are left to the BLAS, which was loaded before allod was (LD_PRELOAD)")
    return is_first


def compiler() -> str | None:
    """Path of the system's C compiler; None where there is none."""
    return next(filter(None, map(shutil.which, _COMPILERS)), None)


def compiled(folder: Path, abilities: frozenset[str]) -> Path:
    """The library, compiled if it is not there.

    Args:
        folder: where it is kept.
        abilities: see `load`.

    Raises:
        OSError: there is no compiler, or no place for what it makes, or it fails.
        subprocess.TimeoutExpired: it takes too long.
    """
    source = files("allod.device").joinpath("panels.c").read_bytes()
    made_of = b"\0".join((source, " ".join(OPTIONS).encode(), " ".join(sorted(abilities)).encode()))
    library = folder / f"panels-{hashlib.sha256(made_of).hexdigest()[:_NAMED_BY]}.so"
    if library.is_file():
        return library
    program = compiler()
    if program is None:
        raise OSError("there is no C compiler; install one (Debian: apt install gcc libc6-dev)")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = Path(place) / library.name
        command = [program, *OPTIONS, "-x", "c", "-", "-o", str(made)]
        done = subprocess.run(
            command, input=source, capture_output=True, check=False, timeout=_PATIENCE_SECONDS
        )
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip().partition("\n")[0]
            raise OSError(f"{program} ended with {done.returncode}: {why or 'without a word'}")
        made.replace(library)
    return library


def _address_in(library: ctypes.CDLL) -> ctypes.c_void_p:
    """Where a library has its products; of the whole process, where those are that MLX will call."""
    return ctypes.cast(getattr(library, _NAME), ctypes.c_void_p)


def _threads(blas: ctypes.CDLL) -> int:
    """As many as OpenBLAS takes, which the owner may have told; beside others one for each core."""
    try:
        tell = blas.openblas_get_num_threads
    except AttributeError:
        return len(os.sched_getaffinity(0))
    return max(1, int(tell()))
