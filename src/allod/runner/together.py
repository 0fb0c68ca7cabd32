"""Chunks of several prompts, read as one: one pass over the weights costs much the same for few as for many.

The prompts must have read equally much, so that their positions agree. Shorter chunks are padded behind
their end, where no token of their own looks; what layers hold of the padding is cut off afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from allod.core.ids import TokenId
from allod.core.shapes import padded_chunk, rows_together
from allod.runner import caches, heads
from allod.runner.caches import RowState
from allod.runner.network import Network, Reading

_LEAST_FILLED = 7 / 8
"""A chunk shorter than this share of the longest is read with shorter ones: padding is work as well."""

_PADDING_TOKEN: TokenId = 0


@dataclass(slots=True)
class Part:
    """What is read of one prompt.

    Attributes:
        tokens: its chunk, which has no pictures.
        reading: how far it is.
        is_end: the chunk's last token is the prompt's, and what follows it is scored.
        scores: (1, V) of what follows, once it was read.
    """

    tokens: tuple[TokenId, ...]
    reading: Reading
    is_end: bool = False
    scores: mx.array | None = None


def groups(parts: Sequence[Part], *, pads_chunks: bool) -> list[list[Part]]:
    """Put together what can be read as one.

    Args:
        parts: of one step.
        pads_chunks: chunks are brought to few lengths, and should be brought to few numbers of rows.
    """
    found: list[list[Part]] = []
    ordered = sorted(parts, key=lambda part: (part.reading.extent.length, -len(part.tokens)))
    for part in ordered:
        if found and _fits(part, found[-1], pads_chunks=pads_chunks):
            found[-1].append(part)
        else:
            found.append([part])
    return [few for group in found for few in _in_few_shapes(group, pads_chunks=pads_chunks)]


def read(network: Network, parts: Sequence[Part], vocabulary: int, *, pads_chunks: bool = False) -> None:
    """Read the chunks of prompts that have read equally much: their readings are advanced, ends scored.

    Args:
        network: the model.
        parts: the chunks, as `groups` put them together.
        vocabulary: V, how many tokens it scores.
        pads_chunks: chunks are brought to few lengths, and to few numbers of rows.
    """
    if len(parts) == 1:
        _read_alone(network, parts[0], vocabulary)
        return
    before = parts[0].reading.extent
    longest = max(len(part.tokens) for part in parts)
    rows = rows_together(len(parts), padded_chunk(longest)) if pads_chunks else len(parts)
    padding_rows = rows - len(parts)
    padded = [[*part.tokens, *[_PADDING_TOKEN] * (longest - len(part.tokens))] for part in parts]
    padded += [[_PADDING_TOKEN] * longest] * padding_rows
    state = _in_one([part.reading for part in parts], padding_rows, network.make_state())
    if any(part.is_end for part in parts):
        places = [len(part.tokens) - 1 for part in parts] + [0] * padding_rows
        scored = heads.scores(network, mx.array(padded), state, places, vocabulary)
        for row, part in enumerate(parts):
            part.scores = scored[row : row + 1] if part.is_end else None
    else:
        network.logits(mx.array(padded), state)
    for row, part in enumerate(parts):
        count = len(part.tokens)
        extent = before.more(count)
        part.reading.state = caches.unstack(state, row, longest - count, extent.length, network.make_state())
        part.reading.extent = extent


def _in_one(readings: list[Reading], padding_rows: int, empty: RowState) -> RowState:
    """States of prompts that have read equally much as one, with so many more rows; `empty` becomes it."""
    first = readings[0]
    if first.begun and all(reading.begun == first.begun for reading in readings):
        return caches.repeat(first.state, len(readings) + padding_rows, empty)
    return caches.stack([reading.state for reading in (*readings, *readings[-1:] * padding_rows)], empty)


def _read_alone(network: Network, part: Part, vocabulary: int) -> None:
    count, reading = len(part.tokens), part.reading
    if not part.is_end:
        network.read(part.tokens, reading, (), {})
        return
    part.scores = heads.scores(network, mx.array([part.tokens]), reading.state, [count - 1], vocabulary)
    reading.extent = reading.extent.more(count)


def _fits(part: Part, group: Sequence[Part], *, pads_chunks: bool) -> bool:
    longest = group[0]
    if part.reading.extent != longest.reading.extent or len(part.tokens) == 1:
        return False
    if pads_chunks:
        return padded_chunk(len(part.tokens)) == padded_chunk(len(longest.tokens))
    return len(part.tokens) >= _LEAST_FILLED * len(longest.tokens)


def _in_few_shapes(group: list[Part], *, pads_chunks: bool) -> list[list[Part]]:
    if not pads_chunks:
        return [group]
    parts = list(group)
    few: list[list[Part]] = []
    while parts:
        rows = rows_together(len(parts), padded_chunk(len(parts[0].tokens)))
        few.append(parts[:rows])  # fewer, where rows of padding fill them up
        parts = parts[rows:]
    return few
