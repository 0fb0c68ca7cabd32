"""The rows of a step: their states, samplers, and the tokens that they read next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import mlx.core as mx

from allod.core.ids import SequenceId
from allod.runner import caches
from allod.runner.caches import RowState
from allod.runner.network import Extent, Source
from allod.runner.sampling import Sampler


@dataclass(slots=True)
class Batch:
    """Rows that decode, or rest.

    Attributes:
        last: (B,) the tokens that are read next, on the device: they may still be on their way.
        extents: how much each row has read.
    """

    sampler: Sampler
    sequences: list[SequenceId] = field(default_factory=list[SequenceId])
    state: RowState = field(default_factory=RowState)
    last: mx.array | None = None
    extents: list[Extent] = field(default_factory=list[Extent])

    def append(self, other: Batch) -> None:
        """Take in the rows of another batch, which is of no use afterwards."""
        if not self.sequences:
            self.sampler, self.sequences = other.sampler, other.sequences
            self.state, self.last, self.extents = other.state, other.last, other.extents
            return
        if not other.sequences:
            return
        assert self.last is not None
        assert other.last is not None
        self.state = self._batched()
        caches.extend(self.state, other._batched())
        self.last = mx.concatenate([self.last, other.last])
        self.sequences += other.sequences
        self.extents += other.extents
        self.sampler.add(other.sampler.rows)

    def drop(self, gone: Collection[SequenceId]) -> None:
        """Forget rows."""
        rows = [row for row, sequence in enumerate(self.sequences) if sequence not in gone]
        if len(rows) == len(self.sequences):
            return
        if not rows:
            self.state, self.last = RowState(), None
        elif len(rows) == 1:
            self.state = caches.take(self.state, rows[0])
        else:
            caches.keep(self.state, rows)
        self.sequences = [self.sequences[row] for row in rows]
        self.extents = [self.extents[row] for row in rows]
        self.sampler.keep(rows)
        if self.last is not None:
            self.last = self.last[mx.array(rows)]

    def split(self, wanted: Collection[SequenceId]) -> Batch:
        """Move rows out into a batch of their own; when that is all of them, nothing is copied."""
        taken = Batch(Sampler(self.sampler.vocabulary))
        if set(self.sequences) <= set(wanted):
            taken.append(self)
            self.sampler, self.sequences = Sampler(taken.sampler.vocabulary), []
            self.state, self.last, self.extents = RowState(), None, []
            return taken
        for row, sequence in enumerate(self.sequences):
            if sequence in wanted:
                taken.append(self._row(row))
        self.drop(wanted)
        return taken

    def _row(self, row: int) -> Batch:
        assert self.last is not None
        sampler = Sampler(self.sampler.vocabulary, [self.sampler.rows[row]])
        state = caches.take(self.state, row)
        last, extents = self.last[row : row + 1], [self.extents[row]]
        return Batch(sampler, [self.sequences[row]], state, last, extents)

    def source(self, sequence: SequenceId) -> Source:
        """A row, to keep a part of."""
        row = self.sequences.index(sequence)
        return Source(self.state, self.extents[row], None if len(self.sequences) == 1 else row)

    def advance(self, tokens: mx.array, count: int = 1) -> None:
        """Every row has read so many tokens, its last one first, and reads this one next: (B,)."""
        self.last = tokens
        self.extents = [extent.more(count) for extent in self.extents]

    def _batched(self) -> RowState:
        return caches.merge([self.state]) if len(self.sequences) == 1 else self.state
