"""How far a download or an import is: a bar at a terminal, a line per stage elsewhere."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from allod.cli.terminal import say
from allod.registry.progress import Progress, ProgressCallback


@contextmanager
def showing() -> Generator[ProgressCallback]:
    """A callback that shows what it is told on stderr."""
    if not sys.stderr.isatty():
        yield StageLines().show
        return
    with RichProgress(console=Console(stderr=True)) as bars:
        yield StageBars(bars).show


class StageLines:
    """One plain line when a stage begins."""

    def __init__(self) -> None:
        self._stage: str | None = None

    def show(self, progress: Progress) -> None:
        """Say the stage when it is a new one."""
        if progress.stage != self._stage:
            self._stage = progress.stage
            say(progress.stage)


class StageBars:
    """One bar per stage; the unit of its first report decides how it counts."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, progress: Progress) -> None:
        """Move the bar of this stage."""
        if progress.stage not in self._tasks:
            self._bars.columns = _columns(progress)
            self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=progress.total)
        self._bars.update(self._tasks[progress.stage], completed=progress.done, total=progress.total)


def _columns(progress: Progress) -> tuple[ProgressColumn, ...]:
    count = DownloadColumn(binary_units=True) if progress.unit == "bytes" else MofNCompleteColumn()
    return TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn()
