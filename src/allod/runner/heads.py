"""Scores of a chosen token of each row of a chunk: a model's last product is as wide as its vocabulary.

Models score every token of a chunk. Of a prompt's last chunk only what follows its last token is wanted, and
to multiply one row costs as little as in a decode step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx

from allod.runner.caches import RowState
from allod.runner.doors import DOORS, passing
from allod.runner.network import Network
from allod.runner.product import Product, TiedProduct, outputs_of
from mlx import nn

_Choose = Callable[[mx.array], mx.array]
"""(B, T, N) -> those of its tokens that are scored, (R, 1, N); of these again it takes all."""

_DOORS = (*DOORS, (Product, "__call__"), (TiedProduct, "as_linear"))


def scores(
    network: Network, tokens: mx.array, state: RowState, places: Sequence[int], vocabulary: int
) -> mx.array:
    """Read tokens, and score what follows one of each row.

    Args:
        network: the model.
        tokens: (B, T) ids.
        state: of these B rows; it is advanced.
        places: which token of each row.
        vocabulary: V, the width of the last product.

    Returns:
        (B, V).
    """

    def chosen(whole: mx.array) -> mx.array:
        return _at(whole, places) if whole.shape[1] > 1 else whole

    return _scores(network, tokens, state, chosen, vocabulary)


def scores_of(
    network: Network, tokens: mx.array, state: RowState, rows: Sequence[int], vocabulary: int
) -> mx.array:
    """Read a token of each row, and score what follows some.

    Args:
        network: the model.
        tokens: (B, 1) ids.
        state: of these B rows; it is advanced.
        rows: which rows are scored.
        vocabulary: V, the width of the last product.

    Returns:
        (R, V) for these R rows.
    """
    indices = mx.array(rows)

    def chosen(whole: mx.array) -> mx.array:
        return whole[indices] if len(rows) < whole.shape[0] else whole

    return _scores(network, tokens, state, chosen, vocabulary)


def _scores(
    network: Network,
    tokens: mx.array,
    state: RowState,
    chosen: _Choose,
    vocabulary: int,
) -> mx.array:
    """Score what is chosen of what comes into the last product, (R, V)."""

    def through(layer: nn.Module, inputs: mx.array) -> mx.array:
        is_last = outputs_of(layer) == vocabulary
        # A product may hand on to another; by then only what is wanted is left.
        return chosen(inputs) if is_last and inputs.ndim == 3 else inputs

    with passing(through, _DOORS):
        logits = network.logits(tokens, state)
    return chosen(logits)[:, 0]


def _at(whole: mx.array, places: Sequence[int]) -> mx.array:
    """(B, T, N) -> (B, 1, N)."""
    rows = [whole[row : row + 1, place : place + 1] for row, place in enumerate(places)]
    return rows[0] if len(rows) == 1 else mx.concatenate(rows)
