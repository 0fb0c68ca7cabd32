"""Trials that a model passed, kept from one load to the next: they take half of a small model's start.

Only passing is kept, and only where all were passed. What fails may have failed for want of memory, and is
tried again; what follows it may have been tried on another network than next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec

from allod.runner.measured import read_record, write
from allod.version import version_of

_LIBRARIES = ("mlx", "mlx-lm", "mlx-vlm")
_IDENTITY_BYTES = 16


class Passed(msgspec.Struct, frozen=True):
    """What a file keeps.

    Attributes:
        identity: of the model and of what computed it.
        trials: names of those it passed.
    """

    identity: str
    trials: tuple[str, ...]


class Trials:
    """Trials of one model.

    Args:
        file: where those that were passed are kept; None keeps none.
        identity: whatever their outcome depends on, see `identity_of`.
    """

    def __init__(self, file: Path | None = None, identity: str = "") -> None:
        kept = None if file is None else read_record(file, Passed)
        self._file = file
        self._identity = identity
        self._known: set[str] = set(kept.trials if kept is not None and kept.identity == identity else ())
        self._passed: set[str] = set()
        self._all_passed = True

    def why_not(self, name: str, trial: Callable[[], str]) -> str:
        """Why a model cannot be served in some way; empty where it can.

        Args:
            name: of the trial, which others of this model do not have.
            trial: tells why not, and is not asked where the model is known to pass.
        """
        reason = "" if name in self._known else trial()
        if reason:
            self._all_passed = False
        else:
            self._passed.add(name)
        return reason

    def keep(self) -> None:
        """Keep what was passed, once nothing else will be tried."""
        if self._file is not None and self._all_passed and self._passed != self._known:
            write(self._file, Passed(self._identity, tuple(sorted(self._passed))))


def files_of(model: Path) -> list[tuple[str, int, int]]:
    """A checkpoint's files, by name, size and time of change: other ones have other numbers."""
    told = [*model.glob("*.safetensors"), *model.glob("config.json")]
    return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in told)


def identity_of(*parts: object) -> str:
    """In one word, what trials depend on beside our code and the libraries that compute."""
    libraries = [version_of(name) for name in _LIBRARIES]
    told = msgspec.json.encode((*parts, libraries, _code()))
    return hashlib.blake2b(told, digest_size=_IDENTITY_BYTES).hexdigest()


@cache
def _code() -> str:
    """All of this room: what computes is here, and a version alone does not tell a working copy's changes."""
    folder = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=_IDENTITY_BYTES)
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
