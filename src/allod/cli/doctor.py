"""`allod doctor`: what this machine has for a model, and what to install."""

from typing import NoReturn

import typer

from allod.cli import lazy
from allod.cli.exits import ExitCode
from allod.cli.options import AsJson, settings_of
from allod.cli.terminal import bytes_words, say, write, write_json
from allod.cli.version import installed_version
from allod.config import Settings, offer
from allod.device import blas

_PARTS = ("mlx", "mlx-lm", "mlx-vlm")
_NO_COMPILER = "none; MLX fuses operations on the CPU with one (Debian: apt install g++)"
_NOT_NEEDED = "not needed here"


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Print what computes here, with how much memory, and what to install to make it faster.

    It loads MLX, as a worker does. Example: `allod doctor`
    """
    settings = settings_of(context)
    found = _look(settings)
    found |= {part: installed_version(part) for part in _PARTS}
    if as_json:
        write_json(found)
        return
    for title, text in found.items():
        write(f"{title}\t{text}")


def _look(settings: Settings) -> dict[str, str]:
    try:
        library = blas.prepare(settings.device, offer, str(settings.kernels_folder))
        machine = lazy.examine(settings)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        _end(error)
    missing = "none" if settings.device.blas == "none" else f"none; {blas.INSTALL_HINT}"
    workers = settings.local.max_resident_models
    needs_blas = machine.is_cpu and blas.matters(settings.device.kind)
    return {
        "device": machine.device,
        "memory": bytes_words(machine.memory_bytes),
        "budget": f"{bytes_words(machine.budget_bytes)} for each of {workers} workers",
        "BLAS": (library or missing) if needs_blas else _NOT_NEEDED,
        "C++ compiler": (machine.compiler or _NO_COMPILER) if machine.is_cpu else _NOT_NEEDED,
    }


def _end(error: Exception) -> NoReturn:
    say(f"allod: MLX cannot be used here: {error}")
    raise typer.Exit(ExitCode.FAILED)
