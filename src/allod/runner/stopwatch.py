"""What products of a model's own weights take, in each way that could be chosen.

Each number of rows is tried in all ways in turn, several times, and the least counts: whatever else runs on
the machine only adds. Products go over several layers of a kind, as a step does, so that weights come from
memory and not from a cache that only a benchmark finds warm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx
import msgspec

from allod.runner import panels
from allod.runner.choice import DECODE_ROWS, PREFILL_ROWS, SPAN, ways_to_try
from allod.runner.measured import (
    AGREEMENT,
    BY_COLUMNS,
    BY_ROWS,
    COLUMNS,
    ROWS_FIRST,
    STORED,
    MeasuredKind,
    Timing,
    Way,
)
from allod.runner.product import by_columns, multiply
from allod.runner.survey import Group, Layer
from mlx import nn

_PASS_BYTES = 192 * 2**20
"""Unpacked weights of so many layers are gone over: more than caches hold, where there are as many."""

_SAMPLE_SECONDS = 0.001
_ROUNDS = 4
_LONG_SECONDS = 0.25
"""A product that would take longer is not measured: it is estimated from the last that did not."""

_WASTE_SECONDS = 0.02
"""Nor is one that would take longer than this and many times as long as another way did."""

_BRIEF_SECONDS = 0.004
"""What takes longer is tried less often."""

_LONG_TRIES = 3

_HOPELESS = 2.0
"""A way that takes so many times as long as another with as many rows is tried no further."""

_AMORTISED = 4
_PATIENCE_SECONDS = 1.2
"""For numbers of rows that only refine a choice; each kind has its part of it."""

_Multiply = Callable[[mx.array], mx.array]


@dataclass(frozen=True, slots=True)
class _Course:
    """A way to compute a kind's products: one function per layer."""

    way: Way
    products: Sequence[_Multiply]


def measure_products(groups: Sequence[Group], room_bytes: int, *, all_ways: bool) -> tuple[MeasuredKind, ...]:
    """Measure all kinds of products; evaluates the weights it measures with.

    Args:
        groups: of a model's layers, those that matter most first.
        room_bytes: what unpacked weights may take beyond the stored ones; a kind of which not one product
            could be unpacked is not measured so.
        all_ways: also in which way unpacked weights are multiplied best.
    """
    measured: list[MeasuredKind] = []
    for group in groups:
        described = group.described
        is_open = described.dense_bytes - described.stored_bytes <= room_bytes * described.modules
        needed = (*DECODE_ROWS, *((PREFILL_ROWS,) if group.kind.use == "block" else ()))
        stopwatch = _Stopwatch(group, unpacks=is_open, all_ways=all_ways)
        for rows in needed:
            stopwatch.time(rows)
        ends = time.perf_counter() + _PATIENCE_SECONDS / len(groups)
        for rows in [rows for rows in SPAN if all_ways and rows not in needed]:
            if time.perf_counter() < ends:
                stopwatch.time(rows, refines=True)
        measured.append(msgspec.structs.replace(described, timings=tuple(stopwatch.timings)))
        del stopwatch
        mx.clear_cache()
    return tuple(measured)


class _Stopwatch:
    """Times one kind."""

    def __init__(self, group: Group, *, unpacks: bool, all_ways: bool) -> None:
        self.timings: list[Timing] = []
        self._group = group
        self._turn = 0
        self._all_ways = all_ways
        each_bytes = max(1, group.described.dense_bytes // len(group.layers))
        count = max(1, min(len(group.layers), _PASS_BYTES // each_bytes))
        layers = [layer for layer, _ in group.layers[:count]]
        self._stored = [_stored(layer) for layer in layers] if group.kind.bits else []
        self._weights = [weight_of(layer, group.dtype) for layer in layers] if unpacks else []
        if not group.kind.bits:
            self._weights = [weight_of(layer, group.dtype) for layer in layers]
        self._has_panels = all_ways and panels.can_hold(group.kind.outputs, group.dtype)
        lay = panels.in_panels if self._has_panels else by_columns
        self._laid = [lay(weight) for weight in self._weights] if all_ways else []
        packed = [[layer.weight, layer.get("scales"), layer.get("biases")] for layer in layers]
        mx.eval(self._weights, self._laid, packed)
        # On a GPU, kernels that do not need each other run side by side, which those of a step cannot.
        self._chains = mx.default_device().type != mx.cpu

    def time(self, rows: int, *, refines: bool = False) -> None:
        """Measure the ways with so many rows; what only refines is about unpacked weights."""
        shape = (1, rows) if rows == PREFILL_ROWS else (rows, 1)
        inputs = mx.random.normal((*shape, self._group.kind.inputs)).astype(self._group.dtype)
        mx.eval(inputs)
        tries: dict[Way, list[float]] = {}
        courses: list[_Course] = []
        for course in self._courses(rows, refines=refines):
            forecast = self._forecast(course.way, rows)
            best_seconds = min((min(taken) for taken in tries.values()), default=_LONG_SECONDS)
            if forecast > min(max(_WASTE_SECONDS, _HOPELESS**2 * best_seconds), _LONG_SECONDS):
                self.timings.append(Timing(course.way, rows, forecast, estimated=True))
                continue
            if forecast < _BRIEF_SECONDS:
                self._sample(course, inputs, 1)  # a first use may compile kernels
            tries[course.way] = [self._sample(course, inputs, 1)]
            courses.append(course)
        for _ in range(_ROUNDS):
            for course in _hopeful(courses, tries):
                length = max(1, int(_SAMPLE_SECONDS / min(tries[course.way])))
                tries[course.way].append(self._sample(course, inputs, length))
        self.timings += [_timing(way, rows, taken) for way, taken in tries.items()]

    def _courses(self, rows: int, *, refines: bool) -> list[_Course]:
        ways = ways_to_try(rows, panels=self._has_panels) if self._all_ways else (ROWS_FIRST,)
        courses = [_Course(way, self._unpacked(way)) for way in ways] if self._weights else []
        return [*courses, _Course(STORED, self._stored)] if self._stored and not refines else courses

    def _unpacked(self, way: Way) -> list[_Multiply]:
        def course(weight: mx.array) -> _Multiply:
            return lambda inputs: multiply(inputs, weight, way)

        return [course(weight) for weight in (self._weights if way in BY_ROWS else self._laid)]

    def _forecast(self, way: Way, rows: int) -> float:
        """About what it will take, by the most rows below that were timed so, or plainly.

        Packed products take as much longer as there are more rows, and so do prompts; a few rows of unpacked
        ones wait for the weights more than for each other.
        """
        alike = (STORED,) if way == STORED else (way, COLUMNS if way in BY_COLUMNS else ROWS_FIRST)
        known = [timing for timing in self.timings if timing.way in alike and timing.rows <= rows]
        nearest = max(known, key=lambda timing: timing.rows, default=None)
        if nearest is None:
            return 0.0
        growth = rows / nearest.rows
        if way != STORED and rows != PREFILL_ROWS:
            growth = max(1.0, growth / _AMORTISED)
        return nearest.seconds * growth

    def _sample(self, course: _Course, inputs: mx.array, length: int) -> float:
        """Seconds per product, building its graph included."""
        started = time.perf_counter()
        outputs: list[mx.array] = []
        for _ in range(length):
            self._turn += 1
            outputs.append(course.products[self._turn % len(course.products)](inputs))
            if self._chains:
                inputs = inputs + outputs[-1][..., :1]
        mx.eval(outputs)
        return (time.perf_counter() - started) / length


def _hopeful(courses: Sequence[_Course], tries: Mapping[Way, Sequence[float]]) -> list[_Course]:
    """Those worth another try: what is over soon in any case, and what takes long if it may win."""
    bound = _HOPELESS * min(min(taken) for taken in tries.values()) if tries else 0.0
    return [
        course
        for course in courses
        if min(tries[course.way]) < _BRIEF_SECONDS
        or (min(tries[course.way]) <= bound and len(tries[course.way]) < _LONG_TRIES)
    ]


def _timing(way: Way, rows: int, tries: Sequence[float]) -> Timing:
    least, *others = sorted(tries)
    return Timing(way, rows, least, steady=bool(others) and others[0] <= AGREEMENT * least)


def weight_of(layer: Layer, dtype: mx.Dtype) -> mx.array:
    """A layer's weight (N, K), unpacked if it is quantised; not evaluated."""
    if isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding):
        weight = mx.dequantize(
            layer.weight, layer.scales, layer.get("biases"), layer.group_size, layer.bits, layer.mode
        )
        return weight.astype(dtype)
    return layer.weight


def _stored(layer: Layer) -> _Multiply:
    return layer.as_linear if isinstance(layer, nn.Embedding | nn.QuantizedEmbedding) else layer
