"""Chunks of prompts read in one pass, with each other and with a token of every row that decodes.

A pass reads all weights, whatever else it does. Where a chunk and the rows beside it share one, a stream
waits for a chunk less long, and a prompt beside streams gets on faster: more of it fits into a step. Nor is
anything padded, or copied to stand together: prompts may have read unlike much.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from allod.runner import heads, together
from allod.runner.batch import Batch
from allod.runner.grouped import Span, gather
from allod.runner.network import Network
from allod.runner.together import Part


def read(network: Network, batch: Batch, parts: Sequence[Part], vocabulary: int) -> mx.array | None:
    """Read chunks, and a token of every row: readings and rows' states are advanced, ends are scored.

    Args:
        network: the model, which takes groups.
        batch: the rows.
        parts: the chunks.
        vocabulary: V, how many tokens it scores.

    Returns:
        (B, V) scores of what follows each row's token; None where there are no rows.
    """
    if len(parts) == 1 and not batch.sequences:
        together.read(network, parts, vocabulary)
        return None
    spans = [*(Span(group.rows) for group in batch.groups), *(Span(1, len(part.tokens)) for part in parts)]
    positions = [extent.length for extent in batch.extents]
    wanted = list(range(len(positions)))
    tokens: list[int] = []
    for part in parts:
        before = part.reading.extent
        tokens += part.tokens
        positions += range(before.length, before.length + len(part.tokens))
        part.reading.extent = before.more(len(part.tokens))
        if part.is_end:
            wanted.append(len(positions) - 1)
    states = [*(group.state for group in batch.groups), *(part.reading.state for part in parts)]
    read_now = mx.array(tokens, dtype=mx.int32)
    if batch.last is not None:
        read_now = mx.concatenate([batch.last, read_now])
    state = gather(states, spans, positions)
    if not wanted:
        network.logits(read_now[:, None], state)
        return None
    scored = heads.scores_of(network, read_now[:, None], state, wanted, vocabulary)
    rows = len(batch.sequences)
    for place, part in enumerate(part for part in parts if part.is_end):
        part.scores = scored[rows + place : rows + place + 1]
    return scored[:rows] if rows else None
