"""How a decode step grows: with the rows that share it, and with what stands before one row.

Usage: python bench/growth.py measure MODEL_FOLDER [dense|stored|auto] > growth.json
       python bench/growth.py draw growth.json growth.png

Random tokens do for this: what they say costs nothing. Memory per token is checked against the sum of
`bytes_per_token` of the layers, which the scheduler counts with.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal, cast

import mlx.core as mx

from allod.device.base import budget_bytes
from allod.device.choose import choose
from allod.runner.load import load
from allod.runner.probe import fitted, measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner
from allod.worker.raw_loop import RawBench

ROWS = (1, 2, 4, 8, 16, 32, 64)
ROW_CONTEXT_TOKENS = 512
CONTEXTS_TOKENS = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
STEPS = 24
REPEATS = 2


def measured(folder: Path, form: str) -> dict[str, Any]:
    """Seconds of a step for each number of rows and each context."""
    platform = choose("auto")
    budget = budget_bytes(platform, 0, 1)
    settings = RunnerSettings(compute=cast("Literal['auto', 'stored', 'dense']", form))
    loaded = load(folder, settings, platform, budget)
    loaded = fitted(loaded, platform)
    facts = measure(loaded, platform, budget, 2 * CONTEXTS_TOKENS[-1])
    runner = MlxRunner(loaded.network, facts)
    rows: dict[int, tuple[float, ...]] = {}
    contexts: dict[int, tuple[float, ...]] = {}
    first = 1000
    for count in ROWS:
        rows[count] = RawBench(runner, ROW_CONTEXT_TOKENS, STEPS, REPEATS, first).decode(count)
        first += 1000
    for tokens in CONTEXTS_TOKENS:
        contexts[tokens] = RawBench(runner, tokens, STEPS, REPEATS, first).decode(1)
        first += 1000
    return {
        "device": platform.description,
        "mlx": mx.__version__,
        "compute": facts.compute,
        "bytes_per_token": sum(layer.bytes_per_token for layer in facts.layers),
        "weights_bytes": facts.weights_bytes,
        "rows": rows,
        "context": contexts,
    }


def draw(found: dict[str, Any], file: Path) -> None:
    """A curve for rows, and one for context."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, key, title in ((left, "rows", "rows of a step"), (right, "context", "tokens before one row")):
        counts = [int(count) for count in found[key]]
        axes.plot(counts, [1000 * min(seconds) for seconds in found[key].values()], marker="o")
        axes.set(xscale="log", xlabel=title, ylabel="ms a step", ylim=(0, None))
        axes.set_xticks(counts, [str(count) if count < 1024 else f"{count // 1024}k" for count in counts])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.suptitle(found["device"], fontsize=9)
    figure.savefig(file, dpi=130)


def main() -> None:
    """Measure or draw."""
    if sys.argv[1] == "measure":
        form = sys.argv[3] if len(sys.argv) > 3 else "auto"
        print(json.dumps(measured(Path(sys.argv[2]), form), indent=1))
    else:
        draw(json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]))


if __name__ == "__main__":
    main()
