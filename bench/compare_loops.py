"""The raw loop of allod against mlx-lm's BatchGenerator: the same weights, one process, in turns.

Usage: python bench/compare_loops.py FOLDER [--rows 1,2,4] [--context 128] [--steps 16] [--rounds 5].
FOLDER is one that `allod import` or `allod bench synthesize` made. Prints JSON; a ratio above 1 means that
allod's loop is the faster one. Both decode greedily with one step in flight, from the same prompt, and take
turns block by block. Both have the weights and layers that allod exchanged when it loaded the model; only
allod's has what its steps are built within (`probe.fitted`).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from allod.config import offer
from allod.device import blas
from allod.device.settings import DeviceSettings

if sys.platform == "linux":
    blas.prepare(DeviceSettings(), offer)

import mlx.core as mx
from mlx_lm.generate import BatchGenerator

from allod.bench.machine import machine
from allod.device.choose import choose
from allod.registry.jsonfile import read_object
from allod.runner.load import load
from allod.runner.network import TextNetwork
from allod.runner.probe import fitted, measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner
from allod.worker.raw_loop import Decoding, RawBench

ENDLESS = 1_000_000
CHUNK = 512


def seconds_of(block: Callable[[], None]) -> float:
    """Seconds of a block, from a device that has nothing to do."""
    mx.synchronize()
    started = time.perf_counter()
    block()
    return time.perf_counter() - started


def generator_of(network: TextNetwork, prompt: list[int], rows: int) -> BatchGenerator:
    """mlx-lm's batch with all rows decoding and warm."""
    batch = BatchGenerator(
        network.model,
        max_tokens=ENDLESS,
        completion_batch_size=rows,
        prefill_batch_size=rows,
        prefill_step_size=CHUNK,
    )
    batch.insert([list(prompt) for _ in range(rows)])
    while len(batch.next_generated()) < rows:
        pass
    for _ in range(3):
        batch.next_generated()
    return batch


def compared(network: TextNetwork, bench: RawBench, rows: int, rounds: int) -> dict[str, object]:
    """Tokens per second of both with so many rows, and their ratios round by round."""
    theirs = generator_of(network, list(bench.prompt()), rows)
    ours = Decoding.begin(bench, rows)

    def step_theirs() -> None:
        for _ in range(bench.steps):
            theirs.next_generated()

    def step_ours() -> None:
        ours.advance(bench.steps)

    pairs = [(seconds_of(step_ours), seconds_of(step_theirs)) for _ in range(rounds)]
    ours.end()
    theirs.close()
    tokens = rows * bench.steps
    ratios = [other / mine for mine, other in pairs]
    return {
        "rows": rows,
        "allod_tokens_per_second": [round(tokens / mine, 1) for mine, _ in pairs],
        "mlx_lm_tokens_per_second": [round(tokens / other, 1) for _, other in pairs],
        "ratios": [round(ratio, 3) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
    }


def main() -> None:
    """Load once, compare at every row count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default="1,2,4,8,16,32")
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    platform = choose(options.device)
    budget = platform.default_budget_bytes()
    loaded = load(options.folder, RunnerSettings(vision="off"), platform, budget)
    limit = read_object(options.folder / "config.json").get("max_position_embeddings", 4096)
    network = loaded.network
    if not isinstance(network, TextNetwork):
        sys.exit("only models for text are compared")
    loaded = fitted(loaded, platform)
    facts = measure(loaded, platform, budget, int(str(limit)))
    bench = RawBench(MlxRunner(loaded.network, facts, None), options.context, options.steps, options.rounds)
    rows = [int(word) for word in options.rows.split(",")]
    figures = {
        "machine": machine().processor,
        "gpus": machine().gpus,
        "device": facts.device,
        "compute": facts.compute,
        "versions": machine().versions,
        "model": options.folder.name,
        "context_tokens": options.context,
        "steps": options.steps,
        "rows": [compared(network, bench, count, options.rounds) for count in rows],
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
