"""A model's rates without a server: the runner's own steps, planned by hand, and the device's bandwidth.

One step is in flight while the one before it is read, as in `loop`. So what a server reaches of these rates
is what everything around the steps costs.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import msgspec

from allod.bench.raw import Bandwidth, RawLoop, RawRows, WeightBytes, raw_rows
from allod.config import WorkerSettings
from allod.core.ids import SequenceId
from allod.core.ports import Flight
from allod.core.sampling import Sampling
from allod.core.step import Join, ModelFacts, Prefill, StepPlan
from allod.device.base import budget_bytes
from allod.device.choose import choose
from allod.registry.jsonfile import child, integer, read_object
from allod.registry.weights import read_tensors
from allod.runner.load import load
from allod.runner.loaded import CannotLoad
from allod.runner.probe import fitted, measure
from allod.runner.record import Measuring
from allod.runner.step import MlxRunner

_CHUNK_TOKENS = 512
_WARM_STEPS = 3
_FIRST_TOKEN = 20
"""Ids below are special in most vocabularies."""

_MOST_BUFFER_BYTES = 2 * 2**30
_BUFFER_SHARE = 16
_SIDE = 4096
_BANDWIDTH_TRIES = 5
_FAILED = 1


@dataclass(slots=True)
class RawBench:
    """A runner and what is to be measured on it."""

    runner: MlxRunner
    prompt_tokens: int
    steps: int
    repeats: int
    next_sequence: int = 0

    def sequences(self, count: int) -> tuple[SequenceId, ...]:
        """Fresh ones."""
        first = self.next_sequence
        self.next_sequence += count
        return tuple(SequenceId(first + index) for index in range(count))

    def prompt(self) -> tuple[int, ...]:
        """Ids that every vocabulary has; what they say costs nothing."""
        spread = max(1, min(self.runner.facts.vocabulary, 40_000) - _FIRST_TOKEN)
        return tuple(_FIRST_TOKEN + 7919 * index % spread for index in range(self.prompt_tokens))

    def read(self, sequence: SequenceId) -> float:
        """Read a prompt but for its last token; seconds."""
        tokens = self.prompt()[:-1]
        started = time.perf_counter()
        airborne: Flight | None = None
        for start in range(0, len(tokens), _CHUNK_TOKENS):
            chunk = Prefill(sequence, tokens[start : start + _CHUNK_TOKENS])
            flight = self.runner.launch(StepPlan(prefill=(chunk,)))
            if airborne is not None:
                airborne.collect()
            airborne = flight
        if airborne is not None:
            airborne.collect()
        return time.perf_counter() - started

    def prefill(self) -> tuple[float, ...]:
        """Tokens per second of one prompt, for each repeat after one that warms up."""
        seconds: list[float] = []
        for _ in range(self.repeats + 1):
            (sequence,) = self.sequences(1)
            seconds.append(self.read(sequence))
            self.runner.launch(StepPlan(release=(sequence,))).collect()
        return tuple((self.prompt_tokens - 1) / each for each in seconds[1:])

    def decode(self, rows: int) -> tuple[float, ...]:
        """Mean seconds of a step with so many rows, for each repeat."""
        decoding = Decoding.begin(self, rows)
        found: list[float] = []
        for _ in range(self.repeats):
            started = time.perf_counter()
            decoding.advance(self.steps)
            found.append((time.perf_counter() - started) / self.steps)
        decoding.end()
        return tuple(found)


@dataclass(slots=True)
class Decoding:
    """Rows that decode, with one step in the air."""

    runner: MlxRunner
    members: tuple[SequenceId, ...]
    airborne: Flight

    @classmethod
    def begin(cls, bench: RawBench, rows: int) -> "Decoding":
        """Read one prompt, fork it into rows, and take some steps to warm up."""
        (state,) = bench.sequences(1)
        bench.read(state)
        members = bench.sequences(rows)
        greedy = Sampling(temperature=0.0)
        join = Join(state, tuple((member, greedy) for member in members), bench.prompt()[-1], ())
        first = bench.runner.launch(StepPlan(join=(join,), decode=members))
        begun = cls(bench.runner, members, first)
        begun.advance(_WARM_STEPS)
        return begun

    def advance(self, steps: int) -> None:
        """Take so many steps: launch the next one, then read the one before it."""
        for _ in range(steps):
            launched = self.runner.launch(StepPlan(decode=self.members))
            self.airborne.collect()
            self.airborne = launched

    def end(self) -> None:
        """Forget the rows."""
        self.airborne.collect()
        self.runner.launch(StepPlan(release=self.members)).collect()
        mx.clear_cache()


def run(options: argparse.Namespace, library: str | None = None) -> int:
    """Measure one model and print a `RawLoop` as JSON.

    Args:
        options: see `measure.parse`.
        library: the BLAS that was loaded before MLX, in words; None where none was.

    Returns:
        The exit code.
    """
    settings: WorkerSettings = options.settings
    try:
        found = _measure(options, settings, library)
    except (CannotLoad, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return _FAILED
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return 0


def _measure(options: argparse.Namespace, settings: WorkerSettings, library: str | None) -> RawLoop:
    platform = choose(settings.device.kind)
    budget = budget_bytes(platform, settings.device.memory_budget_bytes, 1)
    bandwidth = _bandwidth(min(_MOST_BUFFER_BYTES, budget // _BUFFER_SHARE))
    mx.clear_cache()
    measuring = Measuring(options.measured, platform.description, library or "", all_ways=platform.tries_ways)
    loaded = load(options.model, settings.runner, platform, budget, measuring)
    trials = measuring.trials(options.model, loaded)
    loaded = fitted(loaded, platform, trials)
    facts = measure(loaded, platform, budget, options.context_tokens, trials)
    weights = _weights(options.model, facts.weights_bytes)
    runner = MlxRunner(loaded.network, facts, None)
    bench = RawBench(runner, options.prompt_tokens, options.steps, options.repeats)
    prefill = bench.prefill()
    found: list[RawRows] = []
    left_out: list[str] = []
    middle_tokens = options.prompt_tokens + _WARM_STEPS + options.steps * options.repeats // 2
    last_tokens = options.prompt_tokens + _WARM_STEPS + 1 + options.steps * options.repeats
    for rows in options.rows:
        reason = _why_not(facts, rows, last_tokens)
        if reason:
            left_out.append(f"{rows} rows: {reason}")
            continue
        step_bytes = weights.read(rows) + rows * _state_bytes(facts, middle_tokens)
        found.append(raw_rows(rows, middle_tokens, bench.decode(rows), step_bytes, bandwidth))
    return RawLoop(
        model=options.model.name,
        device=facts.device,
        compute=facts.compute,
        weights=weights,
        weights_bytes=facts.weights_bytes,
        bandwidth=bandwidth,
        prompt_tokens=options.prompt_tokens,
        prefill_tokens_per_second=prefill,
        rows=tuple(found),
        left_out=tuple(left_out),
    )


def _why_not(facts: ModelFacts, rows: int, tokens: int) -> str:
    if rows > 1 and not facts.batchable:
        return f"its rows do not share a step ({facts.alone_because})"
    if tokens > facts.context_tokens:
        return f"{tokens} tokens are more than its context of {facts.context_tokens}"
    # The rows' states are copied when they join, so for a moment they are there twice.
    needed = facts.weights_bytes + 2 * rows * _state_bytes(facts, tokens)
    return "" if needed <= facts.budget_bytes else "their state does not fit this machine's budget"


def _state_bytes(facts: ModelFacts, tokens: int) -> int:
    """Bytes of one row's state that a step reads; see `LayerState`."""
    return sum(layer.held_bytes(tokens) for layer in facts.layers)


def _weights(folder: Path, loaded_bytes: int) -> WeightBytes:
    """What a step reads: all but an embedding that is only looked up, and of experts those that are chosen.

    Shares are those of the stored tensors: an estimate where weights of unequal bits are unpacked at load.
    """
    config = read_object(folder / "config.json")
    text = {**config, **child(config, "text_config")}
    stored = [tensor for path in sorted(folder.glob("model*.safetensors")) for tensor in read_tensors(path)]
    total = sum(tensor.stored_bytes for tensor in stored)
    has_head = any("lm_head" in tensor.name for tensor in stored)
    looked_up = sum(tensor.stored_bytes for tensor in stored if has_head and "embed_tokens" in tensor.name)
    experts = sum(
        tensor.stored_bytes
        for tensor in stored
        if any(word in tensor.name for word in ("switch_mlp", ".experts."))
    )
    scale = loaded_bytes / total
    counts = [integer(text.get(key)) for key in ("num_experts", "num_local_experts", "n_routed_experts")]
    count, chosen = next((found for found in counts if found), 0), integer(text.get("num_experts_per_tok"))
    if not (experts and count and chosen):
        return WeightBytes(int(scale * (total - looked_up)))
    return WeightBytes(int(scale * (total - looked_up - experts)), int(scale * experts), count, chosen)


def _bandwidth(buffer_bytes: int) -> Bandwidth:
    """Bytes per second of three ways of going through many matrices, the best of some tries each.

    The product is that of decoding: one row with each matrix, which lies one way or the other.
    """
    count = max(2, buffer_bytes // (4 * _SIDE * _SIDE))
    matrices = [mx.ones((_SIDE, _SIDE), dtype=mx.float32) for _ in range(count)]
    row = mx.ones((1, _SIDE), dtype=mx.float32)
    mx.eval(matrices, row)
    size_bytes = sum(matrix.nbytes for matrix in matrices)
    products = (
        lambda: [row @ matrix for matrix in matrices],
        lambda: [row @ matrix.T for matrix in matrices],
    )
    return Bandwidth(
        sum_bytes_per_second=size_bytes / _best(lambda: [mx.sum(matrix, axis=1) for matrix in matrices]),
        copy_bytes_per_second=2 * size_bytes / _best(lambda: [matrix + 1 for matrix in matrices]),
        product_bytes_per_second=size_bytes / min(map(_best, products)),
    )


def _best(compute: Callable[[], list[mx.array]]) -> float:
    """Seconds of the fastest of some tries."""
    seconds: list[float] = []
    for _ in range(_BANDWIDTH_TRIES):
        started = time.perf_counter()
        mx.eval(compute())
        seconds.append(time.perf_counter() - started)
    return min(seconds)
