"""What a step needs of a model: tokens in, logits out, state kept. Here for text; `vision` has the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from allod.core.ids import TokenId
from allod.core.pictures import Digest, Tensor
from allod.core.step import Shown
from allod.runner.caches import RowState
from allod.runner.features import Features
from mlx import nn


@dataclass(slots=True)
class Reading:
    """A prompt on its way in.

    Attributes:
        state: what was read.
        place: position of the next token, where a model counts positions its own way.
    """

    state: RowState
    place: int = 0


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

    def look(self, tokens: Sequence[TokenId], tensors: Sequence[Tensor]) -> Look:
        """Raise: the scheduler sends no pictures to a model without sight."""
        raise RuntimeError("a picture came to a model that does not see")
