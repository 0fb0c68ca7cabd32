"""What a step needs of a model: tokens in, logits out, state kept. Here for text; `vision` has the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from allod.core.ids import SegmentId, TokenId
from allod.core.pictures import Digest, Tensor
from allod.core.step import Shown
from allod.runner.caches import RowState
from allod.runner.features import Features
from mlx import nn


@dataclass(frozen=True, slots=True)
class Extent:
    """How much was read.

    Attributes:
        length: tokens.
        shifts: where a model counts positions its own way: (index after a picture, by how much positions
            from there on differ from indices), in order.
    """

    length: int = 0
    shifts: tuple[tuple[int, int], ...] = ()

    @property
    def place(self) -> int:
        """Position of the next token."""
        return self.length + (self.shifts[-1][1] if self.shifts else 0)

    def until(self, length: int) -> Extent:
        """As it was when so many tokens were read."""
        return Extent(length, tuple(shift for shift in self.shifts if shift[0] <= length))

    def more(self, tokens: int) -> Extent:
        """As it is after so many tokens more, none of them a picture's last."""
        return Extent(self.length + tokens, self.shifts)


@dataclass(frozen=True, slots=True)
class Following:
    """What is known to follow a prompt, from when it was read before.

    Attributes:
        length: how much of it comes before its last token.
        token: the last one.
        scores: (1, V).
    """

    length: int
    token: TokenId
    scores: mx.array


@dataclass(slots=True)
class Reading:
    """A prompt on its way in.

    Attributes:
        state: what was read.
        extent: how much that is.
        following: what follows one token more, where that is known.
        restored: what it was put together of; nothing for one that began anew. See `Restore.parts`.
    """

    state: RowState
    extent: Extent = Extent()
    following: Following | None = None
    restored: tuple[tuple[SegmentId, int], ...] = ()

    @property
    def begun(self) -> tuple[tuple[SegmentId, int], ...]:
        """What it was put together of, if nothing was read since: states of which that is equal are alike."""
        return self.restored if sum(used for _, used in self.restored) == self.extent.length else ()

    def scores_after(self, token: TokenId) -> mx.array | None:
        """(1, V) scores of what follows this token, if it is known; None where it must be read for that."""
        known = self.following
        return known.scores if known and (known.length, known.token) == (self.extent.length, token) else None


@dataclass(frozen=True, slots=True)
class Source:
    """Something to keep a part of.

    Attributes:
        state: of one row, or of a batch.
        extent: how much the row has read.
        row: its place in the batch; None for a state of one row.
    """

    state: RowState
    extent: Extent
    row: int | None = None


@dataclass(slots=True)
class Look:
    """A picture that is being looked at: nothing of it is computed before its pieces are evaluated.

    Attributes:
        pieces: what to evaluate, in this order; each is cheap once those before it are there.
        features: what is there in the end.
    """

    pieces: deque[object]
    features: Features


class Network(Protocol):
    """A model on the device."""

    @property
    def counts_places(self) -> bool:
        """Whether the caller keeps the position of each row's next token and hands it to `logits`."""
        ...

    def make_state(self) -> RowState:
        """An empty state of one row."""
        ...

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each.

        Args:
            tokens: (B, T) ids.
            state: of these B rows; it is advanced.
            places: (B,) positions of the first of the tokens; None where they are not counted.

        Returns:
            (B, T, V).
        """
        ...

    def read(
        self,
        tokens: Sequence[TokenId],
        reading: Reading,
        shown: Sequence[Shown],
        gallery: Mapping[Digest, Features],
    ) -> None:
        """Read a chunk of a prompt of which parts are pictures; the reading is advanced."""
        ...

    def look(self, tokens: Sequence[TokenId], tensors: Sequence[Tensor]) -> Look:
        """Begin to look at a picture.

        Args:
            tokens: of its span.
            tensors: what the tower reads.
        """
        ...


class NetworkAround:
    """A `Network` that does as another does; what is to be different is overridden.

    Args:
        network: the other.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    @property
    def counts_places(self) -> bool:
        """See `Network`."""
        return self._network.counts_places

    def make_state(self) -> RowState:
        """An empty state of one row."""
        return self._network.make_state()

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each; see `Network`."""
        return self._network.logits(tokens, state, places)

    def read(
        self,
        tokens: Sequence[TokenId],
        reading: Reading,
        shown: Sequence[Shown],
        gallery: Mapping[Digest, Features],
    ) -> None:
        """Read a chunk of a prompt; see `Network`."""
        self._network.read(tokens, reading, shown, gallery)

    def look(self, tokens: Sequence[TokenId], tensors: Sequence[Tensor]) -> Look:
        """Begin to look at a picture; see `Network`."""
        return self._network.look(tokens, tensors)


class NetworkWithin(NetworkAround, ABC):
    """A network whose graphs are built while something of MLX's or the model's is exchanged."""

    @abstractmethod
    def within(self, rows: int, *, decodes: bool) -> AbstractContextManager[object]:
        """What is exchanged meanwhile.

        Args:
            rows: how many read.
            decodes: each reads one token, and is scored.
        """

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each; see `Network`."""
        with self.within(tokens.shape[0], decodes=tokens.shape[1] == 1):
            return super().logits(tokens, state, places)

    def read(
        self,
        tokens: Sequence[TokenId],
        reading: Reading,
        shown: Sequence[Shown],
        gallery: Mapping[Digest, Features],
    ) -> None:
        """Read a chunk of a prompt; see `Network`."""
        with self.within(1, decodes=False):
            super().read(tokens, reading, shown, gallery)


class TextNetwork:
    """A `Network` over mlx-lm's modules.

    Attributes:
        model: the module.
    """

    counts_places = False

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def make_state(self) -> RowState:
        """An empty state of one row."""
        return make_prompt_cache(self.model)

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each; see `Network`."""
        return self.model(tokens, cache=state)

    def read(
        self,
        tokens: Sequence[TokenId],
        reading: Reading,
        shown: Sequence[Shown],
        gallery: Mapping[Digest, Features],
    ) -> None:
        """Read a chunk of a prompt."""
        self.model(mx.array([tokens]), cache=reading.state)
        reading.extent = reading.extent.more(len(tokens))

    def look(self, tokens: Sequence[TokenId], tensors: Sequence[Tensor]) -> Look:
        """Raise: the scheduler sends no pictures to a model without sight."""
        raise RuntimeError("a picture came to a model that does not see")
