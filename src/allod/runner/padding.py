"""Chunks of a prompt in few shapes.

CUDA's libraries prepare themselves for each shape that they have not seen: cuDNN takes 64 ms to plan
attention for a new pair of chunk and context, cuBLAS 4 ms for a new number of rows. Prompts have any length,
so that nearly each would pay it. Here a chunk is read with tokens behind it that nobody will attend to, and
beside keys that nobody attends to: the pairs are few, and can be prepared when the model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import mlx.core as mx
from mlx_lm.models import cache as kinds

from allod.core.ids import TokenId
from allod.core.pictures import Digest
from allod.core.shapes import padded_chunk, padded_context
from allod.core.step import Shown
from allod.runner import caches
from allod.runner.caches import RowState
from allod.runner.entries import Behind, concatenated
from allod.runner.features import Features
from allod.runner.network import Network, NetworkAround, Reading

_PADDING_TOKEN: TokenId = 0


class PaddedNetwork(NetworkAround):
    """A network that reads chunks in few shapes.

    Args:
        network: the other.
        behind: puts a chunk behind what a window holds.
    """

    def __init__(self, network: Network, behind: Behind = concatenated) -> None:
        super().__init__(network)
        self._behind = behind

    def logits(self, tokens: mx.array, state: RowState, places: mx.array | None = None) -> mx.array:
        """Read tokens and score what follows each; see `Network`. Several of a row are padded as well."""
        rows, count = tokens.shape
        if count == 1:
            return super().logits(tokens, state, places)
        padding = mx.zeros((rows, padded_chunk(count) - count), dtype=tokens.dtype)
        padded = mx.concatenate([tokens, padding], axis=1)
        return super().logits(padded, self._padded(state, count), places)[:, :count]

    def read(
        self,
        tokens: Sequence[TokenId],
        reading: Reading,
        shown: Sequence[Shown],
        gallery: Mapping[Digest, Features],
    ) -> None:
        """Read a chunk of a prompt; one with pictures, or of a single token, is read as it is."""
        count = len(tokens)
        if shown or count == 1:
            super().read(tokens, reading, shown, gallery)
            return
        stand_in = Reading(self._padded(reading.state, count), reading.extent)
        padding = (_PADDING_TOKEN,) * (padded_chunk(count) - count)
        super().read([*tokens, *padding], stand_in, (), {})
        reading.extent = reading.extent.more(count)

    def _padded(self, state: RowState, count: int) -> RowState:
        """What stands for a state while so many tokens are read into it."""
        layers = [PaddedLayer(layer, count, padded_chunk(count), self._behind) for layer in state]
        return cast("RowState", layers)


class PaddedLayer:
    """What one layer's attention finds in the place of its cache while a padded chunk is read.

    Args:
        inner: the cache, which takes in the chunk's own tokens alone.
        count: how many these are.
        length: how many tokens are read.
        behind: puts a chunk behind what a window holds.
    """

    def __init__(self, inner: kinds.LayerCache, count: int, length: int, behind: Behind) -> None:
        self._inner = cast("kinds.KVCache", inner)
        self._count = count
        self._behind = behind
        self._window: int | None = getattr(inner, "max_size", None)
        self._before = self._attended()
        self._context = self._context_of(length)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def make_mask(
        self, count: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """Which keys each token attends to: (count, K), added to the scores; or what its cache says.

        A first chunk attends to itself alone, and needs nothing but what the cache says.
        """
        if not self._before:
            return self._inner.make_mask(count, return_array=return_array, window_size=window_size)
        keys = self._inner.keys
        assert keys is not None
        rows = mx.arange(self._before, self._before + count)[:, None]
        columns = mx.arange(self._context)[None]
        seen = columns <= rows
        window = window_size or self._window
        if window is not None:
            seen = seen & (columns > rows - window)
        # In numbers: a mask of booleans would be turned into numbers by every layer.
        unseen = mx.array(mx.finfo(keys.dtype).min, dtype=keys.dtype)
        return mx.where(seen, mx.array(0, dtype=keys.dtype), unseen)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Take in the chunk; what is attended to, (1, H, K, D) each, zeros behind it."""
        if self._before and self._is_window_in_order():
            return self._slide(keys, values)
        held = self._inner.update_and_fetch(keys[:, :, : self._count], values[:, :, : self._count])
        padding = [(0, 0), (0, 0), (0, self._context - held[0].shape[2]), (0, 0)]
        return mx.pad(held[0], padding), mx.pad(held[1], padding)

    def _is_window_in_order(self) -> bool:
        """Whether it is a window whose entries stand in the order of positions, the last one last."""
        inner = self._inner
        is_window = caches.kind_of(inner) == caches.SLIDING
        return is_window and inner.keys is not None and vars(inner)["_idx"] == inner.keys.shape[2]

    def _slide(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Put what is attended to together at once; of that the window holds what is no padding.

        To let the window put it together, and pad that, would launch twice as many copies in each layer.
        """
        inner, end = self._inner, self._before + self._count
        assert inner.keys is not None
        assert inner.values is not None
        start = inner.keys.shape[2] - self._before
        seen = inner.keys[:, :, start:], inner.values[:, :, start:]
        whole = self._behind(seen, (keys, values), self._context)
        caches.hold(inner, whole[0][:, :, :end], whole[1][:, :, :end], inner.offset + self._count)
        return whole

    def _attended(self) -> int:
        """How many positions before the chunk stand before it: of a window, those that its first token sees.

        A window that holds one more is taken as it is: what is attended to is a round number then.
        """
        inner, window = self._inner, self._window
        if window is None:
            return inner.offset
        is_full = self._is_window_in_order() and inner.keys is not None and inner.keys.shape[2] >= window
        return window if is_full else min(inner.offset, window - 1)

    def _context_of(self, length: int) -> int:
        """How many positions are attended to: a full window's are as few as chunks have lengths."""
        if not self._before:
            return length
        if self._window is not None and self._before >= self._window - 1:
            return self._window + length
        return padded_context(self._before + length)
