"""Measuring the products of a model, or knowing from an earlier load what they take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import msgspec

from allod.runner.choice import is_steady
from allod.runner.loaded import LoadedModel
from allod.runner.measured import (
    TRIALS_SUFFIX,
    Circumstances,
    Measured,
    MeasuredKind,
    beside,
    read,
    write,
)
from allod.runner.stopwatch import measure_products
from allod.runner.survey import Group
from allod.runner.trials import Trials, files_of, identity_of

log = logging.getLogger(__name__)


def _tell_nobody() -> None:
    """Nobody waits for the load."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """How a model's products get their timings, and what is kept beside these.

    Attributes:
        file: what was measured before, and will be read next time; None measures every time.
        device: what computes, in words.
        blas: the BLAS that was loaded before MLX, in words; empty for none.
        on_begin: called when there is something to measure.
        all_ways: also in which way unpacked weights are multiplied best.
    """

    file: Path | None = None
    device: str = ""
    blas: str = ""
    on_begin: Callable[[], None] = _tell_nobody
    all_ways: bool = True

    def measured(self, groups: Sequence[Group], room_bytes: int) -> tuple[MeasuredKind, ...]:
        """What each group's products take.

        Args:
            groups: of the model's layers.
            room_bytes: what unpacked weights may take beyond the stored ones.
        """
        if not groups:
            return ()
        earlier = self._earlier([group.described for group in groups], room_bytes)
        if earlier and is_steady(earlier):
            return earlier
        self.on_begin()
        started = time.perf_counter()
        kinds = measure_products(groups, room_bytes, all_ways=self.all_ways)
        if earlier:
            kinds = tuple(kind.or_quicker(known) for kind, known in zip(kinds, earlier, strict=True))
        seconds = time.perf_counter() - started
        log.info("measured %d kinds of products in %.1f s", len(kinds), seconds)
        self._keep(Measured(self._circumstances(room_bytes), kinds, seconds=seconds))
        return kinds

    def settle(self, kinds: Sequence[MeasuredKind], words: str) -> None:
        """Keep what was made of the timings, for whoever wants to see it.

        Timings stay: where the owner names the form, kinds come without, and the next load may choose again.
        """
        kept = self._kept()
        if kept is None:
            return
        known = {entry.kind: entry.timings for entry in kept.kinds}
        kinds = [
            entry if entry.timings else msgspec.structs.replace(entry, timings=known.get(entry.kind, ()))
            for entry in kinds
        ]
        if (kept.kinds, kept.compute) != (tuple(kinds), words):
            self._keep(msgspec.structs.replace(kept, kinds=tuple(kinds), compute=words))

    def trials(self, folder: Path, loaded: LoadedModel) -> Trials:
        """Those of a model that was loaded with these timings.

        Args:
            folder: its files.
            loaded: as it computes; how each product does follows from the timings.
        """
        if self.file is None:
            return Trials()
        timings = self.file.read_bytes() if self.file.is_file() else b""
        network = type(loaded.network).__name__
        identity = identity_of(
            files_of(folder), network, loaded.compute, loaded.blind_because, self.device, self.blas, timings
        )
        return Trials(beside(self.file, TRIALS_SUFFIX), identity)

    def _earlier(self, described: Sequence[MeasuredKind], room_bytes: int) -> tuple[MeasuredKind, ...]:
        """What is kept of these products in these circumstances, steady or not; empty where nothing is."""
        kept = self._kept()
        if kept is None or kept.circumstances != self._circumstances(room_bytes):
            return ()
        same = [msgspec.structs.replace(kind, timings=(), dense_modules=0) for kind in kept.kinds]
        is_whole = same == list(described) and all(kind.timings for kind in kept.kinds)
        return kept.kinds if is_whole else ()

    def _circumstances(self, room_bytes: int) -> Circumstances:
        return Circumstances(self.device, mx.__version__, self.blas, room_bytes)

    def _kept(self) -> Measured | None:
        return None if self.file is None else read(self.file)

    def _keep(self, measured: Measured) -> None:
        if self.file is not None:
            write(self.file, measured)
