"""Where a run took place, in the words of the system. Only said in reports: nothing is decided by it."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from allod.bench.report import Machine
from allod.version import __version__, version_of

_PARTS = ("mlx", "mlx-lm", "mlx-cuda-13", "uvloop", "httptools", "fastapi", "uvicorn", "tokenizers")
_COMMAND_SECONDS = 10
_KEY_FLAG = "--key"
_STRUCK_OUT = "***"


def machine() -> Machine:
    """This machine now."""
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=_gpus(),
        load=round(os.getloadavg()[0], 2),
        versions=_versions(),
        commit=_commit(),
    )


def without_keys(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line that can be shown: whatever a key is given with is struck out."""
    shown: list[str] = []
    for argument in arguments:
        if shown and shown[-1] == _KEY_FLAG:
            shown.append(_STRUCK_OUT)
        elif argument.startswith(f"{_KEY_FLAG}="):
            shown.append(f"{_KEY_FLAG}={_STRUCK_OUT}")
        else:
            shown.append(argument)
    return tuple(shown)


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    if told.is_file():
        for line in told.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return _said("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    said = _said("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    return tuple(line.strip() for line in said.splitlines() if line.strip())


def _versions() -> dict[str, str]:
    found = {"allod": __version__, "python": platform.python_version()}
    installed = {name: version_of(name) for name in _PARTS}
    return found | {name: text for name, text in installed.items() if text}


def _commit() -> str:
    """The commit of the checkout that this file is in, with a `+` when files differ from it."""
    here = Path(__file__)
    folder = str(here.parent)
    if not _said("git", "-C", folder, "ls-files", here.name).strip():
        return ""
    commit = _said("git", "-C", folder, "rev-parse", "HEAD").strip()
    changed = commit and _said("git", "-C", folder, "status", "--porcelain", "--untracked-files=no").strip()
    return f"{commit}+" if changed else commit


def _said(*command: str) -> str:
    """What a program prints; empty when there is no such program or it fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True)
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout
