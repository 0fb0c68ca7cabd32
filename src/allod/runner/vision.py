"""A network that sees: mlx-vlm's models, whose language models read pictures between words."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np
from mlx_vlm.models.cache import make_prompt_cache

from allod.core.ids import TokenId
from allod.core.pictures import Digest, Tensor
from allod.core.step import Shown
from allod.runner.arch.choose import family_of
from allod.runner.arch.family import DEEP
from allod.runner.arch.model import VisionLanguageModel
from allod.runner.attention import in_strips
from allod.runner.caches import RowState
from allod.runner.features import Features
from allod.runner.network import Extent, Look, Reading
from allod.runner.places import chunk_places, span_places
from allod.runner.taps import Taps
from mlx import nn

_GRID = "image_grid_thw"
_MASK, _EMBEDS = "visual_pos_masks", "inputs_embeds"


@dataclass(frozen=True, slots=True)
class Picturing:
    """What a checkpoint's config says of pictures.

    Attributes:
        model_type: as mlx-vlm calls the family.
        image_token: the token that stands for a piece of a picture.
        merge: side of the square of patches that become one token, where positions follow the picture.
    """

    model_type: str
    image_token: TokenId
    merge: int = 1


class SeeingNetwork:
    """A `Network` over mlx-vlm's modules.

    Args:
        model: the whole model; its towers may be left out, and then `look` is never called.
        picturing: what is known of it.
        strip_bytes: most bytes of scores that its tower's attention computes at a time.
    """

    def __init__(self, model: VisionLanguageModel, picturing: Picturing, strip_bytes: int) -> None:
        self._strip_bytes = strip_bytes
        self._language = model.language_model
        self._picturing = picturing
        self._family = family_of(picturing.model_type, model, picturing.image_token)
        self._taps = Taps(model.named_modules())
        self.counts_places = hasattr(model.language_model, "get_rope_index")

    @property
    def whole_spans(self) -> bool:
        """Whether a picture must be read in one chunk."""
        return self._family.whole_spans

    def make_state(self) -> RowState:
        """An empty state of one row."""
        return make_prompt_cache(cast("nn.Module", self._language))

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each; see `Network`."""
        named: dict[str, mx.array] = {}
        if self.counts_places:
            rows, length = tokens.shape
            first = mx.zeros((rows,), dtype=mx.int32) if places is None else places
            positions = first[:, None] + mx.arange(length, dtype=mx.int32)[None]
            named["position_ids"] = mx.broadcast_to(positions[None], (3, rows, length))
        return self._language(tokens, cache=state, **named).logits

    def read(
        self,
        tokens: Sequence[TokenId],
        reading: Reading,
        shown: Sequence[Shown],
        gallery: Mapping[Digest, Features],
    ) -> None:
        """Read a chunk of a prompt of which parts are pictures; the reading is advanced."""
        ids = mx.array([tokens])
        named: dict[str, mx.array] = {}
        if self.counts_places:
            # Within a picture, positions count from where it starts.
            within = shown[0].offset if shown and shown[0].start == 0 else 0
            places, _ = chunk_places(len(tokens), reading.extent.place - within, shown, gallery)
            named["position_ids"] = mx.array(places)[:, None]
        if shown:
            named |= self._pictured(ids, shown, gallery)
        self._language(ids, cache=reading.state, **named)
        reading.extent = self._read_on(reading.extent, len(tokens), shown, gallery)

    def look(self, tokens: Sequence[TokenId], tensors: Sequence[Tensor]) -> Look:
        """Begin to look at a picture: the graph is built, and nothing of it computed.

        Raises:
            ValueError: the tensors are not those of a picture with this span.
        """
        arrays = {tensor.name: mx.array(_numbers(tensor)) for tensor in tensors}
        is_picture = np.array(tokens) == self._picturing.image_token
        with self._taps.noting() as noted, in_strips(self._strip_bytes, self._taps.note):
            found = self._family.look(mx.array([tokens]), arrays)
        places, extent = None, 0
        if self.counts_places:
            grid = next(_numbers(tensor) for tensor in tensors if tensor.name == _GRID)
            places, extent = span_places(is_picture, grid.reshape(3), self._picturing.merge)
        deep = found.pop(DEEP, None)
        features = Features(found, deep, is_picture, places, extent)
        return Look(deque([*noted, features.arrays]), features)

    def _read_on(
        self, extent: Extent, tokens: int, shown: Sequence[Shown], gallery: Mapping[Digest, Features]
    ) -> Extent:
        """How much was read after a chunk. A picture that ends in it shifts the positions behind it."""
        shifts = extent.shifts
        for part in shown if self.counts_places else ():
            features = gallery[part.digest]
            length = len(features.is_picture)
            if part.offset + part.length == length:
                shift = Extent(0, shifts).place + features.extent - length
                shifts = (*shifts, (extent.length + part.start + part.length, shift))
        return Extent(extent.length + tokens, shifts)

    def _pictured(
        self, ids: mx.array, shown: Sequence[Shown], gallery: Mapping[Digest, Features]
    ) -> dict[str, mx.array]:
        """The embeddings of a chunk: those of words, and those of pictures where pictures stand."""
        words = self._family.words(ids)
        named = {name: _laid(array, name, shown, gallery) for name, array in words.items()}
        is_picture = np.zeros(ids.shape, dtype=np.bool_)
        for part in shown:
            own = gallery[part.digest].is_picture[part.offset : part.offset + part.length]
            is_picture[0, part.start : part.start + part.length] = own
        mask = mx.array(is_picture)
        parts = (gallery[part.digest].deep_part(part.offset, part.length) for part in shown)
        deep = [part for part in parts if part is not None and part.shape[1]]
        if deep:
            named |= {_MASK: mask, DEEP: mx.concatenate(deep, axis=1)}
        return named | self._family.arguments(mask)


def _laid(words: mx.array, name: str, shown: Sequence[Shown], gallery: Mapping[Digest, Features]) -> mx.array:
    """An array along a chunk, with pictures laid over it.

    The result is never one of the gallery's arrays: language models scale what they are given in place.
    """
    pieces: list[mx.array] = []
    position = 0
    for part in shown:
        pieces.append(words[:, position : part.start])
        features = gallery[part.digest].aligned[name]
        pieces.append(features[:, part.offset : part.offset + part.length].astype(words.dtype))
        position = part.start + part.length
    pieces.append(words[:, position:])
    return mx.concatenate(pieces, axis=1)


def _numbers(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.frombuffer(tensor.data, np.dtype(tensor.dtype)).reshape(tensor.shape)
