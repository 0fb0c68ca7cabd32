"""What cannot be done with states of some kinds, and why, in words for the owner; empty where it can be."""

from __future__ import annotations

from mlx_lm.models import cache as kinds

from allod.runner.caches import (
    FULL,
    RECURRENT,
    SEVERAL,
    SLIDING,
    RowState,
    inner,
    is_growing,
    kind_of,
    leaves,
)


def why_unpadded(state: RowState) -> str:
    """Why chunks of a model with such state cannot be padded; empty when they can."""
    for layer in state:
        kind = kind_of(layer)
        if kind == SLIDING and getattr(layer, "keep", 0):
            return "its sliding-window cache pins first tokens"
        if kind not in (FULL, SLIDING):
            return f"its {kind} would take in what a chunk is padded with"
    return ""


def why_undrafted(state: RowState) -> str:
    """Why positions of such a state cannot be taken back; empty when they can."""
    others = [kind_of(leaf) for leaf in leaves(state) if not is_growing(leaf)]
    return f"its {others[0]} cannot take back what it took in" if others else ""


def why_ungrouped(state: RowState) -> str:
    """Why nothing is gained by groups of rows with such state; empty where something is."""
    return "" if any(map(is_growing, leaves(state))) else "no layer of it grows with what was read"


def why_alone(state: RowState) -> str:
    """Why rows with such state cannot share a batch; empty when they can."""
    for layer in state:
        if reason := _why_layer_alone(layer):
            return reason
    return ""


def _why_layer_alone(layer: kinds.LayerCache) -> str:
    kind = kind_of(layer)
    if kind == SEVERAL:
        return next((reason for cache in inner(layer) if (reason := _why_layer_alone(cache))), "")
    if kind == SLIDING and getattr(layer, "keep", 0):
        return "its sliding-window cache pins first tokens, which cannot be batched"
    if kind in (FULL, SLIDING, RECURRENT):
        return ""
    return f"there is no batched form of its {kind}"


def why_unkept(state: RowState) -> str:
    """Why nothing of such a state can be kept for other prompts; empty when it can."""
    for leaf in leaves(state):
        kind = kind_of(leaf)
        if kind not in (FULL, SLIDING, RECURRENT):
            return f"it is not known how to keep its {kind}"
        if kind == SLIDING and getattr(leaf, "keep", 0):
            return "its sliding-window cache pins first tokens"
    return ""
