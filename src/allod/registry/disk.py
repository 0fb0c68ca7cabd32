"""Room on the disk, asked for before the work and explained when it runs out during it."""

import errno
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from allod.core.errors import ImportRefused

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HEADROOM_BYTES = 64 * 1024 * 1024


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuse when the file system of `folder` cannot take so many bytes and stay usable.

    Raises:
        ImportRefused: with the bytes needed and the bytes free.
    """
    if shutil.disk_usage(folder).free < needed_bytes + _HEADROOM_BYTES:
        raise _too_full(folder, needed_bytes + _HEADROOM_BYTES)


@contextmanager
def explaining_full_disk(folder: Path, needed_bytes: int) -> Generator[None]:
    """Turn `no space left` inside the block into a refusal with numbers.

    Raises:
        ImportRefused: the disk, or the owner's quota on it, ran full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _too_full(folder, needed_bytes) from error


def _too_full(folder: Path, needed_bytes: int) -> ImportRefused:
    free_bytes = shutil.disk_usage(folder).free
    return ImportRefused(
        f"the disk of {folder} is too full: {needed_bytes} bytes are needed, {free_bytes} bytes are free; "
        f"free some space, or remove a model with `allod rm NAME`"
    )
