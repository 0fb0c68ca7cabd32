"""Gemma 4: the tokens of a picture see each other both ways.

mlx-vlm 0.7.10 lets them only where the whole prompt is read in one go: the mask it lays over the causal one
must be square (mlx_vlm/models/gemma4/language.py: `_apply_blockwise_bidirectional_overlay`). Here it is laid
over the columns of the chunk that is read, whatever was read before. A picture must be within one chunk.
"""

from __future__ import annotations

from typing import Protocol, cast

import mlx.core as mx

from allod.runner.arch.family import Family
from allod.runner.arch.model import VisionLanguageModel

_PICTURE = 1
"""mlx-vlm's number for tokens of an image."""


class TextModel(Protocol):
    """What is used of the family's text model."""

    def _block_sequence_ids_for_mask(self, mm_token_type_ids: mx.array) -> mx.array: ...


class Gemma4(Family):
    """Gemma 4; its small models see causally, the others do not."""

    def __init__(self, model: VisionLanguageModel) -> None:
        super().__init__(model)
        wanted: object = getattr(model.language_model.config, "use_bidirectional_attention", None)
        self.whole_spans = wanted == "vision"
        if self.whole_spans:
            _correct(model.language_model.model)

    def arguments(self, is_picture: mx.array) -> dict[str, mx.array]:
        """Which tokens of a chunk are pictures, where the language model asks."""
        if not self.whole_spans:
            return {}
        return {"mm_token_type_ids": is_picture.astype(mx.int32) * _PICTURE}


def _correct(text_model: object) -> None:
    model = cast("TextModel", text_model)

    def overlaid(base_mask: mx.array, mm_token_type_ids: mx.array | None) -> mx.array:
        if mm_token_type_ids is None:
            return base_mask
        blocks = model._block_sequence_ids_for_mask(mm_token_type_ids)  # pyright: ignore[reportPrivateUsage] -- the family's own numbering of pictures
        rows, columns = blocks[:, :, None], blocks[:, None, :]
        together = ((rows != -1) & (rows == columns))[:, None]
        before = base_mask.shape[-1] - together.shape[-1]
        return base_mask | mx.pad(together, ((0, 0), (0, 0), (0, 0), (before, 0)))

    object.__setattr__(text_model, "_apply_blockwise_bidirectional_overlay", overlaid)
