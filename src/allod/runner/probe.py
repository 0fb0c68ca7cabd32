"""What a loaded model needs, and what may be done with its states: measured on it, not believed.

Two short prompts are run alone and then together. If the logits differ by more than rounding, the
model's rows are served one at a time, and the reason is kept for `/v1/models`. Then one is gone on with from
what was kept of its beginning; if that changes its logits, nothing is kept of this model's prompts.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
from mlx_lm.models import cache as kinds
from mlx_lm.models.cache import KVCache

from allod.core.ids import SegmentId, SequenceId
from allod.core.shapes import group_bounds
from allod.core.step import Keep, LayerState, ModelFacts, Restore
from allod.device.base import Platform
from allod.runner import caches, together
from allod.runner.blocks import packed, unpacked
from allod.runner.caches import RowState, why_unpadded
from allod.runner.composed import ComposedNetwork
from allod.runner.early import EarlyNetwork
from allod.runner.exponentials import FoldedNetwork
from allod.runner.grouped import GroupedNetwork, gather
from allod.runner.loaded import LoadedModel
from allod.runner.network import Network, Reading, Source
from allod.runner.padding import PaddedNetwork
from allod.runner.prefixes import PrefixShelf
from allod.runner.rows import RowsNetwork
from allod.runner.together import Part

log = logging.getLogger(__name__)

_PROMPTS = ((11, 23, 35, 47, 59), (13, 29, 41, 3, 71, 5, 17, 2, 31))
_CONTINUATION = (7, 19, 37)
_FLOAT32_TOLERANCE = 2e-3
_GPU_FLOAT32_TOLERANCE = 0.02
_LOW_PRECISION_TOLERANCE = 0.06
"""Largest relative L2 distance of logits between alone and together. A wrong mask or a leaked row gives
a distance near 1; rounding of bfloat16 over a deep model stays a few percent. GPUs multiply float32 with
fewer digits (TF32): small models were seen to differ by 0.7 %."""

_ACTIVATION_FACTOR = 6
"""Live hidden-size arrays of a layer: residual, normed, q, k, v and output."""

_KEPT_TOKENS = 5
"""Of the second prompt; the rest is read behind them."""

_MASK_ARRAYS = 4
"""A padded chunk's mask in numbers and as booleans, over up to twice the context that there is."""

_UNFIT = (ValueError, RuntimeError, TypeError, AttributeError, IndexError, NotImplementedError)
"""What model code raises that was not made for the states it is given."""


def measure(loaded: LoadedModel, platform: Platform, budget_bytes: int, context_tokens: int) -> ModelFacts:
    """Run the probe and gather the facts the scheduler needs.

    Args:
        loaded: the model.
        platform: the machine.
        budget_bytes: most bytes this process may hold.
        context_tokens: the longest sequence, as the catalogue's card says it.
    """
    state, vocabulary, item_bytes = _first_state(loaded.network)
    scores_bytes = (
        0 if platform.fuses_attention else item_bytes * loaded.number("num_attention_heads", default=1)
    )
    mask_bytes = _MASK_ARRAYS * item_bytes if loaded.pads_chunks else 0
    alone = _alone(loaded.network, vocabulary)
    reason = caches.why_alone(state) or _why_rows_disagree(loaded.network, alone)
    hidden = loaded.number("hidden_size", "d_model", default=1024)
    inner = loaded.number("intermediate_size", default=4 * hidden)
    reads_alike = not (why_unpadded(state) or loaded.network.counts_places)
    unkept_because = caches.why_unkept(state) or _why_kept_disagree(loaded.network, alone)
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
        unstored_because=unkept_because or _why_stored_disagree(loaded.network, alone),
        undrafted_because=caches.why_undrafted(state),
        pads_chunks=loaded.pads_chunks,
        reads_together=reads_alike and not _why_together_disagree(loaded.network, alone),
        scores_chunks=reads_alike and not _why_scores_disagree(loaded.network, alone),
        group_bounds_tokens=(
            group_bounds(platform.row_length_factor, context_tokens) if loaded.groups_rows else ()
        ),
    )
    del state
    mx.clear_cache()
    return facts


def fitted(loaded: LoadedModel, platform: Platform) -> LoadedModel:
    """A model that does what pays on a platform, where it says the same then."""
    grouped = with_row_kernel(with_groups(loaded), platform)
    fitting = with_few_shapes(with_folded_attention(grouped, platform), platform)
    if platform.composes_norms:
        return replace(fitting, network=ComposedNetwork(fitting.network))
    return replace(fitting, network=EarlyNetwork(fitting.network)) if platform.computes_beside else fitting


def with_groups(loaded: LoadedModel) -> LoadedModel:
    """Let a model's rows decode in groups by length, where they say the same then."""
    network = GroupedNetwork(loaded.network)
    state, vocabulary, _ = _first_state(network)
    reason = (
        caches.why_alone(state) or caches.why_ungrouped(state) or _why_groups_disagree(network, vocabulary)
    )
    if reason:
        log.info("rows are padded to the longest of all: %s", reason)
        return loaded
    return replace(loaded, network=network, groups_rows=True)


def with_row_kernel(loaded: LoadedModel, platform: Platform) -> LoadedModel:
    """Let a model's rows attend by our kernel, where the platform wants that and they say the same then."""
    if not platform.runs_row_kernel:
        return loaded
    return _attending(loaded, RowsNetwork(loaded.network))


def with_folded_attention(loaded: LoadedModel, platform: Platform) -> LoadedModel:
    """Let a model attend without MLX's exponentials, where these are slow and it says the same then."""
    if not platform.exponentials_are_slow:
        return loaded
    return _attending(loaded, FoldedNetwork(loaded.network))


def _attending(loaded: LoadedModel, network: Network) -> LoadedModel:
    """The model with a network that attends in another way; as it is, where that changes what it says."""
    # A graph tells how wide it is without being computed.
    vocabulary = network.logits(mx.array([[0]]), network.make_state()).shape[-1]
    reason = _why_kernel_disagrees(loaded.network, network, vocabulary)
    if reason:
        log.info("%s: attention is as MLX has it: %s", type(network).__name__, reason)
        return loaded
    return replace(loaded, network=network)


def with_few_shapes(loaded: LoadedModel, platform: Platform) -> LoadedModel:
    """Let a model read chunks in few shapes, where the platform wants that and it reads the same then."""
    if not platform.prepares_shapes:
        return loaded
    state, vocabulary, _ = _first_state(loaded.network)
    padded = PaddedNetwork(loaded.network)
    reason = why_unpadded(state) or _why_padded_disagree(loaded.network, padded, vocabulary)
    if reason:
        log.info("chunks are read as long as they are: %s", reason)
        return loaded
    return replace(loaded, network=padded, pads_chunks=True)


def _first_state(network: Network) -> tuple[RowState, int, int]:
    """A state after one short prompt, the vocabulary, and the bytes of one activation."""
    state = network.make_state()
    logits = network.logits(mx.array([_PROMPTS[0]]), state)
    mx.eval(logits, caches.arrays(state))
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
    return [(kind, None, -(-layer.nbytes // len(_PROMPTS[0])), 0)]


@dataclass(frozen=True, slots=True)
class _Alone:
    """Two prompts, and what a fixed continuation scores behind each of them alone, (steps, V)."""

    prompts: tuple[tuple[int, ...], ...]
    logits: tuple[mx.array, ...]
    vocabulary: int


def _alone(network: Network, vocabulary: int) -> _Alone:
    prompts = tuple(tuple(token % vocabulary for token in prompt) for prompt in _PROMPTS)
    found = [
        _continue(network, _prefilled(network, prompt), [len(prompt) - 1], [prompt[-1]])[0]
        for prompt in prompts
    ]
    return _Alone(prompts, tuple(found), vocabulary)


def _why_rows_disagree(network: Network, alone: _Alone) -> str:
    try:
        together = _as_rows(network, alone.prompts)
    except _UNFIT as error:
        return f"its rows cannot be batched: {error}"
    for row, own in enumerate(alone.logits):
        if changed := _changed(together[row], own):
            return f"its logits change by {changed} when rows share a step"
    return ""


def _why_groups_disagree(network: Network, vocabulary: int) -> str:
    prompts = [[token % vocabulary for token in prompt] for prompt in (*_PROMPTS, _PROMPTS[1][::-1])]
    places = [len(prompt) - 1 for prompt in prompts]
    try:
        states = [_prefilled(network, prompt) for prompt in prompts]
        groups = [caches.merge(states[:2]), states[2]]
        together = caches.merge(states)
        for step, tokens in enumerate(([prompt[-1] for prompt in prompts], _CONTINUATION)):
            now = [place + step for place in places]
            counted = mx.array(now, dtype=mx.int32)
            read = mx.array(tokens)[:, None]
            reference = network.logits(read, together, counted)
            found = network.logits(read, gather(groups, (2, 1), now), counted)
            if changed := _changed(found, reference):
                return f"its logits change by {changed} when rows are in groups"
    except _UNFIT as error:
        return f"its rows cannot be in groups: {error}"
    return ""


def _why_kernel_disagrees(network: Network, kernel: Network, vocabulary: int) -> str:
    prompts = [[token % vocabulary for token in prompt] for prompt in _PROMPTS]
    try:
        changed = _changed(*(_as_rows(each, prompts) for each in (kernel, network)))
    except _UNFIT as error:
        return f"its rows cannot: {error}"
    return f"its logits change by {changed}" if changed else ""


def _changed(found: mx.array, reference: mx.array) -> str:
    """By how much logits differ from others, in words; empty where it is no more than rounding."""
    is_cpu = mx.default_device().type == mx.cpu
    exact = _FLOAT32_TOLERANCE if is_cpu else _GPU_FLOAT32_TOLERANCE
    tolerance = exact if reference.dtype == mx.float32 else _LOW_PRECISION_TOLERANCE
    expected = reference.astype(mx.float32)
    distance = mx.linalg.norm(found.astype(mx.float32) - expected) / mx.linalg.norm(expected)
    return "" if distance.item() <= tolerance else f"{distance.item():.1%}"


def _why_kept_disagree(network: Network, alone: _Alone) -> str:
    prompt = alone.prompts[1]
    segment, state = SegmentId(1), SequenceId(1)
    try:
        shelf = PrefixShelf(network)
        straight = Reading(network.make_state())
        network.read(prompt[:_KEPT_TOKENS], straight, (), {})
        tips = bool(caches.tip(straight.state, None))
        keep = Keep(segment, state, 0, _KEPT_TOKENS, tip=tips)
        shelf.keep(keep, Source(straight.state, straight.extent))
        restored = shelf.restore(Restore(state, ((segment, _KEPT_TOKENS),)))
        changed = _changed(_read_on(network, restored, prompt), alone.logits[1])
    except _UNFIT as error:
        return f"what is kept of it cannot be restored: {error}"
    return f"its logits change by {changed} behind what was kept" if changed else ""


def _why_stored_disagree(network: Network, alone: _Alone) -> str:
    prompt = alone.prompts[1]
    try:
        straight = Reading(network.make_state())
        network.read(prompt[:_KEPT_TOKENS], straight, (), {})
        entries = caches.entries(straight.state, None, _KEPT_TOKENS, 0)
        found = unpacked(packed(entries, caches.tip_arrays(caches.tip(straight.state, None))))
        stored = Reading(network.make_state(), straight.extent)
        tip = caches.tip_of(network.make_state(), found.tip, _KEPT_TOKENS)
        caches.fill(stored.state, [[each] for each in found.entries], _KEPT_TOKENS, tip)
        changed = _changed(_read_on(network, stored, prompt), alone.logits[1])
    except _UNFIT as error:
        return f"what is kept of it cannot be turned into bytes: {error}"
    return f"its logits change by {changed} behind what was turned into bytes" if changed else ""


def _why_padded_disagree(network: Network, padded: Network, vocabulary: int) -> str:
    prompt = [token % vocabulary for token in _PROMPTS[1]]
    logits: list[mx.array] = []
    try:
        for each in (network, padded):
            reading = Reading(each.make_state())
            each.read(prompt[:_KEPT_TOKENS], reading, (), {})
            logits.append(_read_on(each, reading, prompt))
    except _UNFIT as error:
        return f"it cannot read padded ones: {error}"
    changed = _changed(logits[1], logits[0])
    return f"its logits change by {changed} behind padded ones" if changed else ""


def _why_together_disagree(network: Network, alone: _Alone) -> str:
    both = [Reading(network.make_state()) for _ in alone.prompts]
    try:
        for start, end in ((0, 2), (2, -1)):
            parts = [
                Part(prompt[start:end], reading) for prompt, reading in zip(alone.prompts, both, strict=True)
            ]
            together.read(network, parts, alone.vocabulary)
        for prompt, reading, own in zip(alone.prompts, both, alone.logits, strict=True):
            logits = _continue(network, reading.state, [reading.extent.place], [prompt[-1]])[0]
            if changed := _changed(logits, own):
                return f"its logits change by {changed} where prompts are read together"
    except _UNFIT as error:
        return f"its prompts cannot be read together: {error}"
    return ""


def _why_scores_disagree(network: Network, alone: _Alone) -> str:
    try:
        for prompt, own in zip(alone.prompts, alone.logits, strict=True):
            part = Part(prompt, Reading(network.make_state()), is_end=True)
            together.read(network, [part], alone.vocabulary)
            assert part.scores is not None
            place = mx.array([len(prompt)], dtype=mx.int32)
            behind = network.logits(mx.array([_CONTINUATION[:1]]), part.reading.state, place)[:, -1]
            if changed := _changed(mx.concatenate([part.scores, behind]), own[:2]):
                return f"its logits change by {changed} where a chunk scores what follows"
    except _UNFIT as error:
        return f"its chunks cannot score what follows: {error}"
    return ""


def _read_on(network: Network, reading: Reading, prompt: Sequence[int]) -> mx.array:
    """Logits of a fixed continuation, (steps, V), behind the rest of a prompt whose beginning was read."""
    network.read(prompt[reading.extent.length : -1], reading, (), {})
    return _continue(network, reading.state, [reading.extent.place], [prompt[-1]])[0]


def _prefilled(network: Network, prompt: Sequence[int]) -> RowState:
    state = network.make_state()
    mx.eval(network.logits(mx.array([prompt[:-1]]), state))
    return state


def _as_rows(network: Network, prompts: Sequence[Sequence[int]]) -> mx.array:
    """Logits of a fixed continuation, (rows, steps, V), of prompts that were read alone and share a batch."""
    merged = caches.merge([_prefilled(network, prompt) for prompt in prompts])
    places = [len(prompt) - 1 for prompt in prompts]
    return _continue(network, merged, places, [prompt[-1] for prompt in prompts])


def _continue(network: Network, state: RowState, places: Sequence[int], last: Sequence[int]) -> mx.array:
    """Logits (rows, steps, V) of feeding the last prompt tokens and then a fixed continuation.

    Args:
        network: the model.
        state: of these rows.
        places: positions of the last tokens.
        last: the last token of each prompt.
    """
    rows = len(last)
    outputs: list[mx.array] = []
    for step, tokens in enumerate(([*last], *([token] * rows for token in _CONTINUATION))):
        now = mx.array([place + step for place in places], dtype=mx.int32)
        outputs.append(network.logits(mx.array(tokens)[:, None], state, now)[:, -1:, :])
    logits = mx.concatenate(outputs, axis=1)
    mx.eval(logits)
    return logits
