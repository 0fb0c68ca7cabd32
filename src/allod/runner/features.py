"""What a picture is to a language model: arrays along the tokens of its span."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np


@dataclass(frozen=True, slots=True)
class Features:
    """A picture that was looked at.

    Attributes:
        aligned: arrays with one entry for each token of the span on axis 1, by the name that the language
            model knows them by; `inputs_embeds` (1, L, D) among them.
        deep: (layers, P, D), added to the hidden states of the first layers at the P tokens that are the
            picture itself; None where a family has none.
        is_picture: (L,) which tokens are the picture itself, not marks around it.
        places: (3, L) positions from the first token on, where a model counts them its own way.
        extent: by how much the position after the span is larger than that of its first token.
    """

    aligned: Mapping[str, mx.array]
    deep: mx.array | None
    is_picture: np.ndarray[tuple[int], np.dtype[np.bool_]]
    places: np.ndarray[tuple[int, int], np.dtype[np.int32]] | None = None
    extent: int = 0

    @property
    def arrays(self) -> list[object]:
        """Everything that must be evaluated for the features to be on the device."""
        return [*self.aligned.values(), *([] if self.deep is None else [self.deep])]

    def deep_part(self, offset: int, length: int) -> mx.array | None:
        """The part of `deep` that belongs to these tokens of the span."""
        if self.deep is None:
            return None
        first = int(self.is_picture[:offset].sum())
        return self.deep[:, first : first + int(self.is_picture[offset : offset + length].sum())]
