"""Whether a model says the same in another way of computing it: tried on two short prompts, not believed.

Each trial says why not, in words that `/v1/models` can show; nothing where logits differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import mlx.core as mx

from allod.core.ids import SegmentId, SequenceId
from allod.core.step import Keep, Restore
from allod.runner import caches, mixed, together
from allod.runner.batch import Batch, Group
from allod.runner.blocks import packed, unpacked
from allod.runner.caches import RowState
from allod.runner.grouped import Span, gather
from allod.runner.network import Extent, Network, Reading, Source
from allod.runner.prefixes import PrefixShelf
from allod.runner.sampling import Sampler
from allod.runner.together import Part

PROMPTS = ((11, 23, 35, 47, 59), (13, 29, 41, 3, 71, 5, 17, 2, 31))
_CONTINUATION = (7, 19, 37)
_FLOAT32_TOLERANCE = 2e-3
_GPU_FLOAT32_TOLERANCE = 0.02
_LOW_PRECISION_TOLERANCE = 0.06
"""Largest relative L2 distance of logits between alone and together. A wrong mask or a leaked row gives
a distance near 1; rounding of bfloat16 over a deep model stays a few percent. GPUs multiply float32 with
fewer digits (TF32): small models were seen to differ by 0.7 %."""

_KEPT_TOKENS = 5
"""Of the second prompt; the rest is read behind them."""

_UNFIT = (ValueError, RuntimeError, TypeError, AttributeError, IndexError, NotImplementedError)
"""What model code raises that was not made for the states it is given."""


class Alone:
    """Two prompts, each by itself: what others are compared with.

    Args:
        network: the model.
        vocabulary: V, how many tokens it scores.
    """

    def __init__(self, network: Network, vocabulary: int) -> None:
        self.prompts = _within(vocabulary, PROMPTS)
        self.vocabulary = vocabulary
        self._network = network

    @cached_property
    def logits(self) -> tuple[mx.array, ...]:
        """What a fixed continuation scores behind each of them, (steps, V)."""
        return tuple(
            _continue(self._network, _prefilled(self._network, prompt), [len(prompt) - 1], [prompt[-1]])[0]
            for prompt in self.prompts
        )


def why_rows_disagree(network: Network, alone: Alone) -> str:
    """Why rows do not share a step: empty where logits are those of each row alone."""
    try:
        together = _as_rows(network, alone.prompts)
    except _UNFIT as error:
        return f"its rows cannot be batched: {error}"
    for row, own in enumerate(alone.logits):
        if changed := _changed(together[row], own):
            return f"its logits change by {changed} when rows share a step"
    return ""


def why_groups_disagree(network: Network, vocabulary: int) -> str:
    """Why rows do not decode in groups by length: empty where that changes no logits."""
    prompts = _within(vocabulary, (*PROMPTS, PROMPTS[1][::-1]))
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
            found = network.logits(read, gather(groups, (Span(2), Span(1)), now), counted)
            if changed := _changed(found, reference):
                return f"its logits change by {changed} when rows are in groups"
    except _UNFIT as error:
        return f"its rows cannot be in groups: {error}"
    return ""


def why_kernel_disagrees(network: Network, kernel: Network, vocabulary: int) -> str:
    """Why attention stays as MLX has it: empty where `kernel`, which attends in another way, agrees."""
    prompts = _within(vocabulary, PROMPTS)
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


def why_kept_disagree(network: Network, alone: Alone) -> str:
    """Why nothing is kept of prompts: empty where one that goes on behind what was kept says the same."""
    prompt = alone.prompts[1]
    segment, state = SegmentId(1), SequenceId(1)
    try:
        shelf = PrefixShelf(network)
        straight = _begun(network, prompt)
        tips = bool(caches.tip(straight.state, None))
        keep = Keep(segment, state, 0, _KEPT_TOKENS, tip=tips)
        shelf.keep(keep, Source(straight.state, straight.extent))
        restored = shelf.restore(Restore(state, ((segment, _KEPT_TOKENS),)))
        changed = _changed(_read_on(network, restored, prompt), alone.logits[1])
    except _UNFIT as error:
        return f"what is kept of it cannot be restored: {error}"
    return f"its logits change by {changed} behind what was kept" if changed else ""


def why_stored_disagree(network: Network, alone: Alone) -> str:
    """Why nothing is kept on disk: empty where a prompt says the same behind what was bytes in between."""
    prompt = alone.prompts[1]
    try:
        straight = _begun(network, prompt)
        entries = caches.entries(straight.state, None, _KEPT_TOKENS, 0)
        found = unpacked(packed(entries, caches.tip_arrays(caches.tip(straight.state, None))))
        stored = Reading(network.make_state(), straight.extent)
        tip = caches.tip_of(network.make_state(), found.tip, _KEPT_TOKENS)
        caches.fill(stored.state, [[each] for each in found.entries], _KEPT_TOKENS, tip)
        changed = _changed(_read_on(network, stored, prompt), alone.logits[1])
    except _UNFIT as error:
        return f"what is kept of it cannot be turned into bytes: {error}"
    return f"its logits change by {changed} behind what was turned into bytes" if changed else ""


def why_padded_disagree(network: Network, padded: Network, vocabulary: int) -> str:
    """Why chunks are read as long as they are: empty where `padded`, which pads them, says the same."""
    _, prompt = _within(vocabulary, PROMPTS)
    logits: list[mx.array] = []
    try:
        for each in (network, padded):
            logits.append(_read_on(each, _begun(each, prompt), prompt))
    except _UNFIT as error:
        return f"it cannot read padded ones: {error}"
    changed = _changed(logits[1], logits[0])
    return f"its logits change by {changed} behind padded ones" if changed else ""


def why_together_disagree(network: Network, alone: Alone) -> str:
    """Why prompts are read one by one: empty where each says the same after they were read together."""
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


def why_beside_disagree(network: Network, alone: Alone) -> str:
    """Why chunks are not read in one pass with rows that decode: empty where that changes no logits."""
    first, prompt = alone.prompts
    rows = (first, prompt[::-1])
    try:
        reading = _begun(network, prompt)
        part = Part(prompt[_KEPT_TOKENS:], reading, is_end=True)
        batch = _batch(network, rows, alone.vocabulary)
        decoded = mixed.read(network, batch, [part], alone.vocabulary)
        assert decoded is not None
        assert part.scores is not None
        places = mx.array([len(row) for row in rows], dtype=mx.int32)
        following = mx.array([_CONTINUATION[:1]] * len(rows))
        next_ones = network.logits(following, batch.state, places)[:, -1]
        behind = network.logits(following[:1], reading.state, mx.array([len(prompt)]))[:, -1]
        changed = _changed(
            mx.concatenate([decoded, next_ones, part.scores, behind]),
            mx.concatenate([*_as_rows(network, rows)[:, :2].swapaxes(0, 1), alone.logits[1][:2]]),
        )
    except _UNFIT as error:
        return f"its chunks and rows cannot share a pass: {error}"
    return f"its logits change by {changed} where chunks and rows share a pass" if changed else ""


def why_scores_disagree(network: Network, alone: Alone) -> str:
    """Why a chunk does not score what follows: empty where that is what a step behind it scores."""
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


def _within(vocabulary: int, prompts: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """The prompts in tokens that there are."""
    return tuple(tuple(token % vocabulary for token in prompt) for prompt in prompts)


def _begun(network: Network, prompt: Sequence[int]) -> Reading:
    """A prompt of which the beginning was read."""
    reading = Reading(network.make_state())
    network.read(prompt[:_KEPT_TOKENS], reading, (), {})
    return reading


def _read_on(network: Network, reading: Reading, prompt: Sequence[int]) -> mx.array:
    """Logits of a fixed continuation, (steps, V), behind the rest of a prompt whose beginning was read."""
    network.read(prompt[reading.extent.length : -1], reading, (), {})
    return _continue(network, reading.state, [reading.extent.place], [prompt[-1]])[0]


def _prefilled(network: Network, prompt: Sequence[int]) -> RowState:
    state = network.make_state()
    mx.eval(network.logits(mx.array([prompt[:-1]]), state))
    return state


def _batch(network: Network, prompts: Sequence[Sequence[int]], vocabulary: int) -> Batch:
    """Rows that read the last tokens of their prompts next."""
    return Batch(
        Sampler(vocabulary),
        [SequenceId(row) for row in range(len(prompts))],
        [Group(0, len(prompts), caches.merge([_prefilled(network, prompt) for prompt in prompts]))],
        mx.array([prompt[-1] for prompt in prompts], dtype=mx.int32),
        [Extent(len(prompt) - 1) for prompt in prompts],
    )


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
