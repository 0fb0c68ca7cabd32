"""The rows of a step: their states, samplers, and the tokens that they read next."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import mlx.core as mx
from mlx_lm.models import cache as kinds

from allod.core.drafts import STEPS_APART
from allod.core.ids import SequenceId
from allod.runner import caches, grouped
from allod.runner.caches import RowState
from allod.runner.grouped import Span
from allod.runner.network import Extent, Source
from allod.runner.sampling import Sampler


@dataclass(slots=True)
class Group:
    """Rows that are padded to one length, or one that stands apart because it reads drafts.

    Attributes:
        place: which group; those of a batch are in this order.
        rows: how many.
        state: of a single row unbatched, of several batched.
        apart: the row, where it stands apart from the others of its place.
        undrafted_steps: for how many steps it has.
    """

    place: int
    rows: int
    state: RowState
    apart: SequenceId | None = None
    undrafted_steps: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Rows of one key are padded together."""
        return self.place, -1 if self.apart is None else self.apart

    def take_in(self, other: Group) -> None:
        """Append the rows of another group, which is of no use afterwards."""
        state = self._batched()
        caches.extend(state, other._batched())
        self.state, self.rows = state, self.rows + other.rows

    def keep(self, rows: Sequence[int]) -> None:
        """Drop every row but these, which are not all."""
        if len(rows) == 1:
            self.state = caches.take(self.state, rows[0])
        else:
            caches.keep(self.state, rows)
        self.rows = len(rows)

    def row(self, row: int) -> Group:
        """A copy of one row."""
        state = caches.take(self.state, row) if self.rows > 1 else self.state
        return Group(self.place, 1, state, self.apart, self.undrafted_steps)

    def _batched(self) -> RowState:
        return caches.merge([self.state]) if self.rows == 1 else self.state


@dataclass(slots=True)
class Batch:
    """Rows that decode, or rest; those of a group stand together.

    Attributes:
        last: (B,) the tokens that are read next, on the device: they may still be on their way.
        extents: how much each row has read.
        groups: whose states they are, in order.
    """

    sampler: Sampler
    sequences: list[SequenceId] = field(default_factory=list[SequenceId])
    groups: list[Group] = field(default_factory=list[Group])
    last: mx.array | None = None
    extents: list[Extent] = field(default_factory=list[Extent])

    @property
    def state(self) -> RowState:
        """The state of all rows, to be read into; a single row's is its own."""
        states = [group.state for group in self.groups]
        if len(states) == 1:
            return _of_one_offset(states[0])
        lengths = [extent.length for extent in self.extents]
        return grouped.gather(states, [Span(group.rows) for group in self.groups], lengths)

    @property
    def starts(self) -> list[int]:
        """The first row of each group."""
        return list(accumulate((group.rows for group in self.groups), initial=0))[:-1]

    def append(self, other: Batch) -> None:
        """Take in the rows of another batch, which is of no use afterwards."""
        if not other.sequences:
            return
        if not self.sequences:
            self.sampler, self.sequences, self.groups = other.sampler, other.sequences, other.groups
            self.last, self.extents = other.last, other.extents
            return
        assert self.last is not None
        assert other.last is not None
        order = _order([*self.groups, *other.groups])
        self._unite(other.groups)
        self.last = mx.concatenate([self.last, other.last])
        self.sequences += other.sequences
        self.extents += other.extents
        self.sampler.add(other.sampler.rows)
        if order != list(range(len(order))):
            self._pick(order)

    def drop(self, gone: Collection[SequenceId]) -> None:
        """Forget rows."""
        rows = [row for row, sequence in enumerate(self.sequences) if sequence not in gone]
        if len(rows) == len(self.sequences):
            return
        for group, start in zip(self.groups, self.starts, strict=True):
            kept = [row - start for row in rows if start <= row < start + group.rows]
            if kept and len(kept) < group.rows:
                group.keep(kept)
            else:
                group.rows = len(kept)
        self.groups = [group for group in self.groups if group.rows]
        self._pick(rows)

    def split(self, wanted: Collection[SequenceId]) -> Batch:
        """Move rows out into a batch of their own; when that is all of them, nothing is copied."""
        taken = Batch(Sampler(self.sampler.vocabulary))
        if set(self.sequences) <= set(wanted):
            taken.append(self)
            self.sampler, self.sequences, self.groups = Sampler(taken.sampler.vocabulary), [], []
            self.last, self.extents = None, []
            return taken
        for row, sequence in enumerate(self.sequences):
            if sequence in wanted:
                taken.append(self._row(row))
        self.drop(wanted)
        return taken

    def set_apart(self, drafted: Collection[SequenceId]) -> None:
        """Let rows end where they do, not where others do: those that read drafts in this step."""
        rows = [row for row, sequence in enumerate(self.sequences) if sequence in drafted]
        joint = [self._row(row) for row in rows if self._place(row)[0].rows > 1]
        self.drop([row.sequences[0] for row in joint])
        for row in joint:
            row.groups[0].apart = row.sequences[0]
            self.append(row)
        for row, sequence in enumerate(self.sequences):
            if sequence in drafted:
                self._place(row)[0].undrafted_steps = 0

    def settle(self) -> None:
        """A step went by: rows that stood apart for long without a draft are padded with others again."""
        for group in self.groups:
            group.undrafted_steps += 1
        long_apart = [
            group for group in self.groups if group.apart is not None and group.undrafted_steps > STEPS_APART
        ]
        if not long_apart:
            return
        for group in long_apart:
            group.apart = None
        order = _order(self.groups)
        self._unite(())
        self._pick(order)

    def source(self, sequence: SequenceId) -> Source:
        """A row, to keep a part of."""
        row = self.sequences.index(sequence)
        group, within = self._place(row)
        return Source(group.state, self.extents[row], None if group.rows == 1 else within)

    def advance(self, tokens: mx.array, counts: Sequence[int] | None = None) -> None:
        """Each row has read so many tokens, its last one first, and reads this one next: (B,).

        Args:
            tokens: these.
            counts: of each row; None where each read its last one only.
        """
        self.last = tokens
        counts = counts or [1] * len(self.extents)
        self.extents = [extent.more(count) for extent, count in zip(self.extents, counts, strict=True)]

    def _unite(self, others: Sequence[Group]) -> None:
        own: dict[tuple[int, int], Group] = {}
        for group in (*self.groups, *others):
            if group.key in own:
                own[group.key].take_in(group)
            else:
                own[group.key] = group
        self.groups = [own[key] for key in sorted(own)]

    def _pick(self, rows: Sequence[int]) -> None:
        """Let all but the states be those of these rows, in this order."""
        self.sequences = [self.sequences[row] for row in rows]
        self.extents = [self.extents[row] for row in rows]
        self.sampler.keep(rows)
        if self.last is not None:
            self.last = self.last[mx.array(rows)] if rows else None

    def _row(self, row: int) -> Batch:
        assert self.last is not None
        group, within = self._place(row)
        sampler = Sampler(self.sampler.vocabulary, [self.sampler.rows[row]])
        last, extents = self.last[row : row + 1], [self.extents[row]]
        return Batch(sampler, [self.sequences[row]], [group.row(within)], last, extents)

    def _place(self, row: int) -> tuple[Group, int]:
        """The group of a row, and its place there."""
        starts = self.starts
        place = bisect_right(starts, row) - 1
        return self.groups[place], row - starts[place]


def _of_one_offset(state: RowState) -> RowState:
    """Let layers that count positions for themselves have them in one array: none but one then counts on.

    Of other caches it is not known that they leave that array as it is, and count in another.
    """
    shared: dict[type, mx.array] = {}
    for layer in state:
        if isinstance(layer, kinds.BatchKVCache | kinds.BatchRotatingKVCache):
            layer.offset = shared.setdefault(type(layer), layer.offset)
    return state


def _order(groups: Sequence[Group]) -> list[int]:
    """Where rows come from when those of a group stand together, each group's in the order they had."""
    keys = [group.key for group in groups for _ in range(group.rows)]
    return sorted(range(len(keys)), key=keys.__getitem__)
