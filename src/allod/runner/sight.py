"""What pictures cost a model, by the numbers of its config."""

from __future__ import annotations

from typing import cast

from allod.core.pictures import Sight
from allod.runner.loaded import Config, number, part, text_part

_PIXEL_BYTES = 4
"""Processors give float32."""

_PIXEL_COPIES = 3
"""The tensors as the tower takes them: in its dtype, in its order, and laid out for its first convolution."""

_CHANNELS = 3
_PLACE_BYTES = 12
_ACTIVATION_FACTOR = 8
"""Live hidden-size arrays of a block: residual, normed, q, k, v, rotated q and k, output."""

_SCORES_COPIES = 2
"""Scores before and after the softmax."""


def sight_of(config: Config, item_bytes: int, strip_bytes: int) -> Sight:
    """Bytes that pictures take; what depends on the machine alone is left at 0.

    A patch is `channels * patch^2 * frames` numbers of the processor's tensors. While a block works on N
    patches it holds N times some arrays of the tower's width and its inner width, and `heads * N^2` scores,
    of which a strip is there at a time. Where a tower sees tiles, or attention is fused, there are fewer.
    """
    vision = part(config, "vision_config")
    hidden = number(vision, "hidden_size", "embed_dim", "width", default=1152)
    inner = number(vision, "intermediate_size", default=4 * hidden)
    heads = number(vision, "num_attention_heads", "num_heads", "heads", default=16)
    side = number(vision, "patch_size", default=14)
    patch_bytes = _CHANNELS * side**2 * number(vision, "temporal_patch_size", default=1) * _PIXEL_BYTES
    each = item_bytes * (_ACTIVATION_FACTOR * hidden + 3 * inner) / patch_bytes
    scores = _SCORES_COPIES * item_bytes * heads
    return Sight(
        weights_bytes=0,
        feature_bytes_per_token=_feature_bytes(vision, {**config, **text_part(config)}, item_bytes),
        transient_per_byte=each + _PIXEL_COPIES * item_bytes / _PIXEL_BYTES,
        transient_per_byte_squared=scores / patch_bytes**2,
        cache_bytes=0,
        most_scores_bytes=_SCORES_COPIES * strip_bytes,
    )


def _feature_bytes(vision: Config, text: Config, item_bytes: int) -> int:
    """Embeddings of one token, deepstack layers, inputs of each layer, positions."""
    deep = vision.get("deepstack_visual_indexes")
    layers = 1 + (len(cast("list[object]", deep)) if isinstance(deep, list) else 0)
    own = number(text, "hidden_size_per_layer_input", default=0) * number(
        text, "num_hidden_layers", default=1
    )
    hidden = number(text, "hidden_size", "d_model", default=4096)
    return item_bytes * (layers * hidden + own) + _PLACE_BYTES
