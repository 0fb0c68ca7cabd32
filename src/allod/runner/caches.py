"""KV state of rows, in mlx-lm's and mlx-vlm's cache classes: alone, merged into a batch, and taken out again.

A single row keeps the unbatched classes, which need no padding and no mask; two or more rows use the
batched ones. The classes convert into each other without recomputing anything. Both libraries give the
kinds of state the same names and methods, so a state is told by the name of its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import cast

import mlx.core as mx
from mlx_lm.models import cache as kinds

RowState = list["kinds.LayerCache"]
"""One cache per layer."""

Entries = tuple[mx.array, mx.array]
"""Keys and values of some positions, (1, H, T, D) each."""

TipArrays = tuple["mx.array | None", ...]
"""What a layer that does not grow holds: keys and values of a window, or all of a recurrent state."""

FULL, SLIDING, RECURRENT, SEVERAL = "KVCache", "RotatingKVCache", "ArraysCache", "CacheList"
_BATCHED = "Batch"
"""What the names of batched kinds begin with, where they are classes of their own."""

_ROOM_FROM_TOKENS = 512
"""A state of so many tokens is restored with room behind it: to copy fewer again costs less than the room."""

MOST_PENDING_BYTES = 256 * 2**20
"""What is copied of a batch before the copies are waited for: until then, old and new are both there."""


def merge(rows: Sequence[RowState]) -> RowState:
    """Unbatched states of rows -> one batched state, in that order. The inputs stay valid."""
    return [layers[0].merge(list(layers)) for layers in zip(*rows, strict=True)]


def absorb(rows: Sequence[RowState], most_pending_bytes: int = MOST_PENDING_BYTES) -> RowState:
    """Unbatched states of rows -> one batched state, in that order. The inputs are of no use afterwards.

    Args:
        rows: the states; one may be there several times.
        most_pending_bytes: what is copied at a time.
    """
    merged: RowState = []
    pending = _Pending(most_pending_bytes)
    for place in range(len(rows[0])):
        layers = [row[place] for row in rows]
        merged.append(layers[0].merge(layers))
        for row in rows:
            row[place] = merged[place]  # lets go of the layer that was copied
        pending.add(merged[place])
    for row in rows:
        row.clear()
    return merged


def stack(rows: Sequence[RowState], empty: RowState) -> RowState:
    """States of rows that have read equally much -> one state of all, read into like a state of one.

    Args:
        rows: unbatched, of layers that grow and windows; they stay valid.
        empty: a state of one row; it becomes the result.
    """
    for layer, *parts in zip(empty, *rows, strict=True):
        # Buffers grow by just what is read: rows are cut out of them, and keep them whole till they join.
        vars(layer)["step"] = 1
        first = cast("kinds.KVCache", parts[0])
        if first.keys is not None:
            keys, values = zip(*[_held(part) for part in parts], strict=True)
            hold(layer, mx.concatenate(keys), mx.concatenate(values), first.offset)
    return empty


def repeat(row: RowState, rows: int, empty: RowState) -> RowState:
    """What `stack` makes of as many states that are all like this one; copied only when it is read into.

    Args:
        row: unbatched, of layers that grow and windows; it stays valid.
        rows: how many.
        empty: a state of one row; it becomes the result.
    """
    for layer in stack([row], empty):
        if cast("kinds.KVCache", layer).keys is not None:
            keys, values = (mx.broadcast_to(each, (rows, *each.shape[1:])) for each in _arrays_of(layer))
            hold(layer, keys, values)
    return empty


def unstack(state: RowState, row: int, behind: int, tokens: int, empty: RowState) -> RowState:
    """One row of a stacked state, without what it was padded with.

    Args:
        state: stacked, and read into, so that its windows are in the order of positions; it stays valid.
        row: its place.
        behind: how many positions the row was padded with.
        tokens: how many tokens the row has read.
        empty: a state of one row; it becomes the result.
    """
    for layer, stacked in zip(empty, state, strict=True):
        # A window is cut to its size when it is written next: cut now, it would lose what padding took.
        keys, values = _arrays_of(stacked)
        end = (keys.shape[2] if kind_of(stacked) == SLIDING else stacked.size()) - behind
        # Cuts, not copies: a row that was read to its end is copied when it joins, which is next.
        hold(layer, keys[row : row + 1, :, :end], values[row : row + 1, :, :end], tokens)
    return empty


def extend(batch: RowState, more: RowState, most_pending_bytes: int = MOST_PENDING_BYTES) -> None:
    """Append the rows of one batched state to another, in place; the other is of no use afterwards.

    Args:
        batch: which grows.
        more: what is appended.
        most_pending_bytes: what is copied at a time.
    """
    pending = _Pending(most_pending_bytes)
    for place, layer in enumerate(batch):
        layer.extend(more[place])
        more[place] = layer
        pending.add(layer)
    more.clear()


class _Pending:
    """Copies that are on their way, up to so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._layers: RowState = []

    def add(self, layer: kinds.LayerCache) -> None:
        """One more; when it gets too much, all are waited for."""
        self._layers.append(layer)
        self._bytes += layer.nbytes
        if self._bytes >= self._most_bytes:
            mx.eval(arrays(self._layers))
            self._bytes = 0
            self._layers.clear()


def keep(batch: RowState, rows: Sequence[int]) -> None:
    """Drop every row but these, in place."""
    indices = mx.array(rows)
    for layer in batch:
        layer.filter(indices)


def take(batch: RowState, row: int) -> RowState:
    """One row of a batched state, unbatched, with room up to where buffers end that grew in steps."""
    state = [layer.extract(row) for layer in batch]
    for leaf in _growing(state):
        keys, values = _arrays_of(leaf)
        if room := -keys.shape[2] % leaf.step:
            leaf.keys, leaf.values = _joined((keys,), room), _joined((values,), room)
    return state


def arrays(state: RowState) -> list[object]:
    """Everything that must be evaluated for a state to be on the device."""
    return [layer.state for layer in state]


def kind_of(layer: kinds.LayerCache) -> str:
    """The name of a cache's class."""
    return type(layer).__name__


def inner(layer: kinds.LayerCache) -> Sequence[kinds.LayerCache]:
    """The caches that a cache of several holds."""
    return getattr(layer, "caches", ())


def leaves(state: RowState) -> list[kinds.LayerCache]:
    """The caches of a state, those within caches of several included."""
    return [leaf for layer in state for leaf in _leaves(layer)]


def _leaves(layer: kinds.LayerCache) -> list[kinds.LayerCache]:
    if kind_of(layer) != SEVERAL:
        return [layer]
    return [leaf for cache in inner(layer) for leaf in _leaves(cache)]


def is_growing(leaf: kinds.LayerCache) -> bool:
    """Whether its entries stand each for a position."""
    return kind_of(leaf).removeprefix(_BATCHED) == FULL


def entries(state: RowState, row: int | None, tokens: int, behind: int) -> tuple[Entries, ...]:
    """Copies of what the growing layers of a row hold.

    Args:
        state: of one row, or of a batch, whose rows end together.
        row: its place in the batch; None for a state of one row.
        tokens: of how many positions.
        behind: how many positions the row has read after these.
    """
    found: list[Entries] = []
    first = row or 0
    for leaf in _growing(state):
        end = leaf.size() - behind
        assert leaf.keys is not None
        assert leaf.values is not None
        keys = leaf.keys[first : first + 1, :, end - tokens : end]
        values = leaf.values[first : first + 1, :, end - tokens : end]
        found.append((mx.contiguous(keys), mx.contiguous(values)))
    return tuple(found)


def tip(state: RowState, row: int | None, behind: int = 0) -> tuple[kinds.LayerCache, ...]:
    """What the layers of a row hold that do not grow; the row goes on without changing it.

    Args:
        state: of one row, or of a batch.
        row: its place in the batch; None for a state of one row.
        behind: how many positions the row has read since; fewer than in its last chunk, and in windows only.
    """
    return tuple(_own(leaf if row is None else leaf.extract(row), behind) for leaf in _others(state))


def fill(
    state: RowState, pieces: Sequence[Sequence[Entries]], tokens: int, tip: Sequence[kinds.LayerCache]
) -> None:
    """Make an empty state of one row hold what was kept.

    Args:
        state: the empty state.
        pieces: for each growing layer its entries, piece after piece.
        tokens: how many positions these are together.
        tip: the other layers' caches, in their order; they stay as they are.
    """
    for leaf, parts in zip(_growing(state), pieces, strict=True):
        # With room for what is read next, or the first chunk would copy all of it once more.
        room = leaf.step - tokens % leaf.step if tokens >= _ROOM_FROM_TOKENS else 0
        keys, values = zip(*parts, strict=True)
        leaf.keys, leaf.values, leaf.offset = _joined(keys, room), _joined(values, room), tokens
    for leaf, kept in zip(_others(state), tip, strict=True):
        vars(leaf).update(vars(_alike(kept)))


def tip_arrays(tip: Sequence[kinds.LayerCache]) -> list[TipArrays]:
    """All that tells a tip from one of another text."""
    return [_held_by(leaf) for leaf in tip]


def tip_of(state: RowState, held: Sequence[TipArrays], tokens: int) -> tuple[kinds.LayerCache, ...]:
    """A tip anew; the inverse of `tip_arrays`.

    Args:
        state: an empty state of one row, which is of no use afterwards.
        held: what its layers hold that do not grow, in their order.
        tokens: how many were read up to the tip.
    """
    others = _others(state)
    for leaf, found in zip(others, held, strict=True):
        if kind_of(leaf) == SLIDING:
            keys, values = found
            assert keys is not None
            assert values is not None
            hold(leaf, keys, values, tokens)
        else:
            cast("kinds.ArraysCache", leaf).cache = list(found)
    return tuple(others)


def _held_by(leaf: kinds.LayerCache) -> TipArrays:
    return _arrays_of(leaf) if kind_of(leaf) == SLIDING else tuple(cast("kinds.ArraysCache", leaf).cache)


def _others(state: RowState) -> list[kinds.LayerCache]:
    return [leaf for leaf in leaves(state) if not is_growing(leaf)]


def _growing(state: RowState) -> list[kinds.KVCache]:
    return [cast("kinds.KVCache", leaf) for leaf in leaves(state) if is_growing(leaf)]


def _joined(pieces: Sequence[mx.array], room: int) -> mx.array:
    if len(pieces) == 1 and not room:
        return mx.array(pieces[0])  # another handle: an assignment changes the array it is made on
    rows, heads, _, width = pieces[0].shape
    return mx.concatenate([*pieces, mx.zeros((rows, heads, room, width), pieces[0].dtype)], axis=2)


def _own(leaf: kinds.LayerCache, behind: int = 0) -> kinds.LayerCache:
    """A cache of one row that shares arrays with another and changes none; as it was so much before."""
    if kind_of(leaf) != SLIDING:
        assert not behind
        return _alike(leaf)
    own, (keys, values) = copy(leaf), _arrays_of(leaf)
    offset = cast("kinds.KVCache", leaf).offset - behind
    hold(own, _in_order(keys, leaf, behind), _in_order(values, leaf, behind), offset)
    return own


def _alike(leaf: kinds.LayerCache) -> kinds.LayerCache:
    """A cache that shares arrays with another and changes none: who writes to a shared one copies it."""
    own = copy(leaf)
    for name, value in vars(own).items():
        if isinstance(value, mx.array):
            setattr(own, name, _handle(value))
        elif isinstance(value, list):
            setattr(own, name, [_handle(each) for each in cast("list[object]", value)])
    return own


def hold(leaf: kinds.LayerCache, keys: mx.array, values: mx.array, offset: int | None = None) -> None:
    """Let a cache of one row hold these entries, (1, H, T, D), in the order of positions.

    Args:
        leaf: of full attention or a window.
        keys: of the last positions that were read.
        values: of the same.
        offset: how many were read; None for as many as it has now.
    """
    held: dict[str, object] = {"keys": keys, "values": values}
    if kind_of(leaf) == SLIDING:
        held["_idx"] = keys.shape[2]  # mlx-lm's and mlx-vlm's name of the place that is written next
    vars(leaf).update(held if offset is None else held | {"offset": offset})


def _arrays_of(leaf: kinds.LayerCache) -> tuple[mx.array, mx.array]:
    keyed = cast("kinds.KVCache", leaf)
    assert keyed.keys is not None
    assert keyed.values is not None
    return keyed.keys, keyed.values


def _held(leaf: kinds.LayerCache) -> tuple[mx.array, mx.array]:
    """What a cache of full attention or a window holds, in the order of positions."""
    keys, values = _arrays_of(leaf)
    if kind_of(leaf) == SLIDING:
        return _in_order(keys, leaf), _in_order(values, leaf)
    size = leaf.size()
    return keys[:, :, :size], values[:, :, :size]


def _in_order(ring: mx.array, leaf: kinds.LayerCache, behind: int = 0) -> mx.array:
    """A copy of what a window holds, in the order of positions, without what no later one attends to.

    Behind the place that is written next stand older entries, once all were written, or none. A window holds
    all of the chunk that was read last, and what its first token attends to: so it can be had as it was that
    many positions before.
    """
    place: int = vars(leaf)["_idx"]
    window = cast("kinds.RotatingKVCache", leaf).max_size
    if place < ring.shape[2]:
        before = ring[..., :place, :]
        is_full = place < cast("kinds.KVCache", leaf).offset
        ring = mx.concatenate([ring[..., place:, :], before], axis=2) if is_full else before
    end = ring.shape[2] - behind
    return mx.contiguous(ring[..., max(0, end - window) : end, :])


def _handle(value: object) -> object:
    """Another handle of an array: an assignment changes the array it is made on."""
    return mx.array(value) if isinstance(value, mx.array) else value


def trim(state: RowState, tokens: int) -> None:
    """Take back the last positions of a state of one row, all of whose layers grow."""
    for leaf in _growing(state):
        leaf.trim(tokens)
