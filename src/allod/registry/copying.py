"""Bring files into a folder: by hard link where the file system allows it, else by copying."""

import os
from collections.abc import Sequence
from pathlib import Path

from allod.registry.disk import require_space
from allod.registry.progress import Progress, ProgressCallback

_CHUNK_BYTES = 16 * 1024 * 1024


def link_or_copy(files: Sequence[Path], folder: Path, on_progress: ProgressCallback) -> None:
    """Put files into a folder under their own names; symbolic links come in as what they point at.

    A link costs no space, so space is asked for only before a file that has to be copied.

    Raises:
        ImportRefused: a copy is needed and does not fit on the disk.
    """
    total = sum(path.stat().st_size for path in files)
    done = 0
    for path in files:
        content = path.resolve(strict=True)
        target = folder / path.name
        size = content.stat().st_size
        if not _linked(content, target):
            require_space(folder, total - done)
            _copy(content, target, Progress("copying", done, total, "bytes"), on_progress)
        done += size
        on_progress(Progress("copying", done, total, "bytes"))


def copy_small(files: Sequence[Path], folder: Path) -> None:
    """Copy files that people edit: a link would let an edit of the source change the model."""
    for path in files:
        (folder / path.name).write_bytes(path.read_bytes())


def _linked(content: Path, target: Path) -> bool:
    try:
        os.link(content, target)
    except OSError:  # another file system, or one without links: copying settles it, or says why not
        return False
    return True


def _copy(content: Path, target: Path, before: Progress, on_progress: ProgressCallback) -> None:
    done = before.done
    with content.open("rb") as source, target.open("wb") as copy:
        while chunk := source.read(_CHUNK_BYTES):
            copy.write(chunk)
            done += len(chunk)
            on_progress(Progress(before.stage, done, before.total, before.unit))
