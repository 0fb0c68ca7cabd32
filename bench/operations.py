"""How many operations a pass of a model is made of, and what it takes: a token, and a chunk behind a context.

Usage: python bench/operations.py FOLDER [--chunk 40] [--context 4096] [--passes 20]. FOLDER is one that
`allod import` or `allod bench synthesize` made. Prints JSON: operations of each kind as MLX names them (views
are among them, which cost the host alone), and median milliseconds of building and of all.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest.mock import patch

from allod.config import offer
from allod.device import blas
from allod.device.settings import DeviceSettings

if sys.platform == "linux":
    blas.prepare(DeviceSettings(), offer)

import mlx.core as mx
from mlx.utils import tree_flatten
from msgspec import to_builtins

from allod.bench.machine import machine
from allod.device.base import budget_bytes
from allod.device.choose import choose
from allod.runner import caches
from allod.runner.caches import RowState
from allod.runner.load import load
from allod.runner.network import Network, Reading
from allod.runner.probe import fitted
from allod.runner.settings import RunnerSettings

READ_TOKENS = 512
FIRST_TOKEN = 100
OPERATION = re.compile(r'label ?= ?"([A-Za-z]\w*)"')


def tokens(count: int) -> list[int]:
    """Ids that every vocabulary has."""
    return list(range(FIRST_TOKEN, FIRST_TOKEN + count))


def state_behind(network: Network, context: int) -> RowState:
    """A state that has read so many tokens."""
    reading = Reading(network.make_state())
    for _ in range(0, context, READ_TOKENS):
        network.read(tokens(READ_TOKENS), reading, (), {})
        mx.eval(caches.arrays(reading.state))
    return reading.state


def counted(network: Network, chunk: int, state: RowState) -> Counter[str]:
    """The operations of a pass, by kind."""
    with patch.object(mx, "async_eval"):  # a graph of which parts were handed on is counted without them
        scores = network.logits(mx.array([tokens(chunk)]), state)
    held = [leaf for _, leaf in tree_flatten(caches.arrays(state)) if isinstance(leaf, mx.array)]
    with tempfile.NamedTemporaryFile(suffix=".dot") as file:
        mx.export_to_dot(file.name, scores, *held)
        found = Counter(OPERATION.findall(Path(file.name).read_text()))
    mx.eval(scores, held)
    return found


def timed(network: Network, chunk: int, state: RowState, passes: int) -> dict[str, float]:
    """Median milliseconds of passes that follow one another."""
    built, whole = [], []
    for _ in range(passes):
        started = time.perf_counter()
        scores = network.logits(mx.array([tokens(chunk)]), state)[:, -1]
        built.append(time.perf_counter() - started)
        mx.eval(scores, caches.arrays(state))
        whole.append(time.perf_counter() - started)
    return {
        "build_ms": round(1000 * statistics.median(built), 2),
        "all_ms": round(1000 * statistics.median(whole), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chunk", type=int, default=40)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--passes", type=int, default=20)
    options = parser.parse_args()
    settings = DeviceSettings()
    platform = choose(settings.kind)
    budget = budget_bytes(platform, settings.memory_budget_bytes, 1)
    loaded = load(options.folder, RunnerSettings(), platform, budget)
    network = fitted(loaded, platform).network
    found: dict[str, object] = {}
    for chunk in (1, options.chunk):
        state = state_behind(network, options.context)
        operations = counted(network, chunk, state)
        found[f"{chunk} tokens"] = {
            "operations": operations.total(),
            **timed(network, chunk, state, options.passes),
            "kinds": dict(operations.most_common()),
        }
    print(json.dumps({"command": sys.argv, "machine": to_builtins(machine()), "passes": found}, indent=1))


if __name__ == "__main__":
    main()
