"""What a loaded model needs, and what may be done with its states: tried on it, not believed.

Where rows that share a step change its logits, they are served one at a time, and the reason is kept for
`/v1/models`; where going on from what was kept of a prompt does, nothing is kept of this model's prompts.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace

import mlx.core as mx
from mlx_lm.models import cache as kinds
from mlx_lm.models.cache import KVCache

from allod.core.shapes import group_bounds
from allod.core.step import LayerState, ModelFacts
from allod.device.base import Platform
from allod.runner import agreement, caches, refusals
from allod.runner.agreement import PROMPTS, Alone
from allod.runner.caches import RowState
from allod.runner.composed import ComposedNetwork
from allod.runner.early import EarlyNetwork
from allod.runner.entries import BehindKernel, concatenated
from allod.runner.exponentials import FoldedNetwork
from allod.runner.grouped import GroupedNetwork
from allod.runner.loaded import LoadedModel
from allod.runner.network import Network
from allod.runner.padding import PaddedNetwork
from allod.runner.rows import RowsNetwork
from allod.runner.trials import Trials

log = logging.getLogger(__name__)

_ACTIVATION_FACTOR = 6
"""Live hidden-size arrays of a layer: residual, normed, q, k, v and output."""

_MASK_ARRAYS = 4
"""A padded chunk's mask in numbers and as booleans, over up to twice the context that there is."""


def measure(
    loaded: LoadedModel,
    platform: Platform,
    budget_bytes: int,
    context_tokens: int,
    trials: Trials | None = None,
) -> ModelFacts:
    """Gather the facts that the scheduler needs.

    Args:
        loaded: the model.
        platform: the machine.
        budget_bytes: most bytes this process may hold.
        context_tokens: the longest sequence, as the catalogue's card says it.
        trials: of this model; those it passed are kept here. None tries all.
    """
    trials = trials or Trials()
    network = loaded.network
    state, vocabulary, item_bytes = _first_state(network)
    mx.eval(caches.arrays(state))  # what cannot be computed at all is not served
    scores_bytes = (
        0 if platform.fuses_attention else item_bytes * loaded.number("num_attention_heads", default=1)
    )
    mask_bytes = _MASK_ARRAYS * item_bytes if loaded.pads_chunks else 0
    alone = Alone(network, vocabulary)
    reason = refusals.why_alone(state) or trials.why_not(
        "rows", lambda: agreement.why_rows_disagree(network, alone)
    )
    hidden = loaded.number("hidden_size", "d_model", default=1024)
    inner = loaded.number("intermediate_size", default=4 * hidden)
    reads_alike = not (refusals.why_unpadded(state) or network.counts_places)
    unkept_because = refusals.why_unkept(state) or trials.why_not(
        "kept", lambda: agreement.why_kept_disagree(network, alone)
    )
    scores_chunks = reads_alike and not trials.why_not(
        "scores", lambda: agreement.why_scores_disagree(network, alone)
    )
    reads_beside = scores_chunks and not reason and loaded.groups_rows and not loaded.pads_chunks
    facts = ModelFacts(
        weights_bytes=loaded.weights_bytes,
        budget_bytes=budget_bytes,
        layers=_layer_states(state),
        capacity_step_tokens=KVCache.step,
        transient_bytes_per_token=item_bytes * (_ACTIVATION_FACTOR * hidden + 3 * inner),
        transient_bytes_per_token_and_context=scores_bytes + mask_bytes,
        context_tokens=context_tokens,
        vocabulary=vocabulary,
        batchable=not reason,
        alone_because=reason,
        compute=loaded.compute,
        device=platform.description,
        sight=loaded.sight,
        blind_because=loaded.blind_because,
        unkept_because=unkept_because,
        unstored_because=unkept_because
        or trials.why_not("stored", lambda: agreement.why_stored_disagree(network, alone)),
        undrafted_because=refusals.why_undrafted(state),
        pads_chunks=loaded.pads_chunks,
        reads_together=reads_alike
        and not trials.why_not("together", lambda: agreement.why_together_disagree(network, alone)),
        scores_chunks=scores_chunks,
        reads_beside=reads_beside
        and not trials.why_not("beside", lambda: agreement.why_beside_disagree(network, alone)),
        group_bounds_tokens=(
            group_bounds(platform.row_length_factor, context_tokens) if loaded.groups_rows else ()
        ),
    )
    trials.keep()
    del state
    mx.clear_cache()
    return facts


def fitted(loaded: LoadedModel, platform: Platform, trials: Trials | None = None) -> LoadedModel:
    """A model that does what pays on a platform, where it says the same then.

    Args:
        loaded: the model.
        platform: the machine.
        trials: of this model; None tries all.
    """
    trials = trials or Trials()
    grouped = with_row_kernel(with_groups(loaded, trials), platform, trials)
    fitting = with_few_shapes(with_folded_attention(grouped, platform, trials), platform, trials)
    if platform.composes_norms:
        return replace(fitting, network=ComposedNetwork(fitting.network))
    return replace(fitting, network=EarlyNetwork(fitting.network)) if platform.computes_beside else fitting


def with_groups(loaded: LoadedModel, trials: Trials) -> LoadedModel:
    """Let a model's rows decode in groups by length, where they say the same then."""
    network = GroupedNetwork(loaded.network)
    state, vocabulary, _ = _first_state(network)
    reason = (
        refusals.why_alone(state)
        or refusals.why_ungrouped(state)
        or trials.why_not("groups", lambda: agreement.why_groups_disagree(network, vocabulary))
    )
    if reason:
        log.info("rows are padded to the longest of all: %s", reason)
        return loaded
    return replace(loaded, network=network, groups_rows=True)


def with_row_kernel(loaded: LoadedModel, platform: Platform, trials: Trials) -> LoadedModel:
    """Let a model's rows attend by our kernel, where the platform wants that and they say the same then."""
    if not platform.runs_row_kernel:
        return loaded
    return _attending(loaded, RowsNetwork(loaded.network), trials)


def with_folded_attention(loaded: LoadedModel, platform: Platform, trials: Trials) -> LoadedModel:
    """Let a model attend without MLX's exponentials, where these are slow and it says the same then."""
    if not platform.exponentials_are_slow:
        return loaded
    return _attending(loaded, FoldedNetwork(loaded.network), trials)


def _attending(loaded: LoadedModel, network: Network, trials: Trials) -> LoadedModel:
    """The model with a network that attends in another way; as it is, where that changes what it says."""
    _, vocabulary, _ = _first_state(network)
    name = type(network).__name__
    reason = trials.why_not(name, lambda: agreement.why_kernel_disagrees(loaded.network, network, vocabulary))
    if reason:
        log.info("%s: attention is as MLX has it: %s", name, reason)
        return loaded
    return replace(loaded, network=network)


def with_few_shapes(loaded: LoadedModel, platform: Platform, trials: Trials) -> LoadedModel:
    """Let a model read chunks in few shapes, where the platform wants that and it reads the same then."""
    if not platform.prepares_shapes:
        return loaded
    state, vocabulary, _ = _first_state(loaded.network)
    padded = PaddedNetwork(loaded.network, BehindKernel() if platform.runs_row_kernel else concatenated)
    reason = refusals.why_unpadded(state) or trials.why_not(
        "padded", lambda: agreement.why_padded_disagree(loaded.network, padded, vocabulary)
    )
    if reason:
        log.info("chunks are read as long as they are: %s", reason)
        return loaded
    return replace(loaded, network=padded, pads_chunks=True)


def _first_state(network: Network) -> tuple[RowState, int, int]:
    """A state after one short prompt, the vocabulary, and the bytes of one activation.

    A graph tells all of this without being computed.
    """
    state = network.make_state()
    logits = network.logits(mx.array([PROMPTS[0]]), state)
    return state, logits.shape[-1], logits.dtype.size


def _layer_states(state: RowState) -> tuple[LayerState, ...]:
    sums: defaultdict[tuple[str, int | None], list[int]] = defaultdict(lambda: [0, 0, 0])
    for layer in state:
        for kind, window, per_token, fixed in _describe(layer):
            entry = sums[(kind, window)]
            entry[0] += 1
            entry[1] += per_token
            entry[2] += fixed
    return tuple(
        LayerState(kind, layers, per_token, fixed, window)
        for (kind, window), (layers, per_token, fixed) in sums.items()
    )


def _describe(layer: kinds.LayerCache) -> list[tuple[str, int | None, int, int]]:
    """(kind, window in tokens, bytes per token, fixed bytes) of one layer's state."""
    kind = caches.kind_of(layer)
    if kind == caches.SEVERAL:
        return [part for each in caches.inner(layer) for part in _describe(each)]
    if kind == caches.RECURRENT:
        return [("recurrent", None, 0, layer.nbytes)]
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    if isinstance(keys, mx.array) and isinstance(values, mx.array):
        per_token = (keys.nbytes + values.nbytes) // keys.shape[2]
        if kind == caches.SLIDING:
            return [("sliding", getattr(layer, "max_size", None), per_token, 0)]
        if kind == caches.FULL:
            return [("full", None, per_token, 0)]
    # A kind this version does not know is taken to grow by what the probe's prompt cost per token.
    return [(kind, None, -(-layer.nbytes // len(PROMPTS[0])), 0)]
