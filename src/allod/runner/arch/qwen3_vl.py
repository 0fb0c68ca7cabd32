"""Qwen3-VL: its embeddings are computed as they are asked for, which would hold up whoever decodes.

mlx-vlm 0.7.10 evaluates the deepstack features inside `get_input_embeddings`. Here the tower's graph is only
built. (mlx_vlm/models/qwen3_vl/qwen3_vl.py: `mx.eval(deepstack_visual_embeds)`.)
"""

from __future__ import annotations

from typing import Protocol, cast

import mlx.core as mx

from allod.runner.arch.family import DEEP, Arrays, Family
from allod.runner.arch.model import VisionLanguageModel


class Tower(Protocol):
    """The family's vision tower."""

    def __call__(self, pixels: mx.array, grid: mx.array) -> tuple[mx.array, list[mx.array]]:
        """Patches and their grid to features (P, D) of the tokens, and as many for each deep layer."""
        ...


class SeesQwen(Protocol):
    """What is used of the family's model beside what all have."""

    vision_tower: Tower


class Qwen3Vl(Family):
    """Qwen3-VL and its mixture of experts."""

    def __init__(self, model: VisionLanguageModel, image_token: int) -> None:
        super().__init__(model)
        self._image_token = image_token

    def look(self, ids: mx.array, tensors: Arrays) -> dict[str, mx.array]:
        """What stands at the tokens of a picture's span; see `Family`."""
        words = self.words(ids)["inputs_embeds"]
        tower = cast("SeesQwen", self._model).vision_tower
        dtype = words.dtype
        features, deep = tower(tensors["pixel_values"].astype(dtype), tensors["image_grid_thw"])
        is_picture = (ids == self._image_token)[0]
        nth = mx.cumsum(is_picture.astype(mx.int32), axis=0) - 1
        placed = features.astype(dtype)[mx.maximum(nth, 0)]
        embeds = mx.where(is_picture[:, None], placed, words[0])[None]
        return {"inputs_embeds": embeds, DEEP: mx.stack(deep)} if deep else {"inputs_embeds": embeds}
