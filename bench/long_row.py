"""What a long prompt that joins costs the short rows beside it, in groups by length and padded to one length.

Usage: python bench/long_row.py MODEL_FOLDER [ROWS [LONG_TOKENS]] > long_row.json
(on the CPU with LD_PRELOAD=libopenblas.so.0)

Both ways take turns on one model, in one process. Tokens are random: what they say costs nothing.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import mlx.core as mx
from msgspec import structs

from allod.core.ids import SegmentId, SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, Keep, ModelFacts, Prefill, Restore, StepPlan
from allod.device.base import budget_bytes
from allod.device.choose import choose
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.probe import fitted, measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner

SHORT_TOKENS = 100
CHUNK_TOKENS = 256
STEPS = 8
REPEATS = 7
GREEDY = Sampling(temperature=0.0)
LONG, KEPT = SequenceId(0), SegmentId(1)


class Bench:
    """Short rows that decode, and a long prompt that can join them again and again.

    Args:
        loaded: the model.
        facts: say whether rows are in groups.
        rows: how many short ones.
        long_tokens: length of the long prompt.
    """

    def __init__(self, loaded: LoadedModel, facts: ModelFacts, rows: int, long_tokens: int) -> None:
        self._runner = MlxRunner(loaded.network, facts)
        self._vocabulary = facts.vocabulary
        self._long_tokens = long_tokens
        self._rows = tuple(SequenceId(row) for row in range(1, rows + 1))
        for count, row in enumerate(self._rows, 1):
            joined = self._read(row, SHORT_TOKENS)
            self._seconds(StepPlan(join=(joined,), decode=self._rows[:count]))
        self._long = self._read(LONG, long_tokens)
        keep = Keep(KEPT, LONG, 0, long_tokens - 1)
        self._seconds(StepPlan(keep=(keep,), release=(LONG,), decode=self._rows))

    def turn(self) -> dict[str, float]:
        """Milliseconds of a step before, of the step in which it joins, and beside it; bytes that it adds."""
        alone = [self._seconds(StepPlan(decode=self._rows)) for _ in range(STEPS)]
        restore = Restore(LONG, ((KEPT, self._long_tokens - 1),))
        self._seconds(StepPlan(restore=(restore,), decode=self._rows))
        held_bytes, everyone = mx.get_active_memory(), (*self._rows, LONG)
        joining = self._seconds(StepPlan(join=(self._long,), decode=everyone))
        beside = [self._seconds(StepPlan(decode=everyone)) for _ in range(STEPS)]
        added_bytes = mx.get_active_memory() - held_bytes
        self._seconds(StepPlan(release=(LONG,), decode=self._rows))
        found = {"alone_ms": median(alone), "joining_ms": joining, "beside_ms": median(beside)}
        return {name: round(1000 * each, 1) for name, each in found.items()} | {"added_bytes": added_bytes}

    def _read(self, sequence: SequenceId, length: int) -> Join:
        prompt = tuple((31 * place + 7 * sequence) % self._vocabulary for place in range(length))
        for start in range(0, length - 1, CHUNK_TOKENS):
            chunk = prompt[:-1][start : start + CHUNK_TOKENS]
            self._seconds(StepPlan(prefill=(Prefill(sequence, chunk),)))
        return Join(sequence, ((sequence, GREEDY),), prompt[-1], ())

    def _seconds(self, plan: StepPlan) -> float:
        started = time.perf_counter()
        self._runner.launch(plan).collect()
        return time.perf_counter() - started


def measured(folder: Path, rows: int, long_tokens: int) -> dict[str, Any]:
    """Both ways, in turns; medians."""
    platform = choose("auto")
    budget = budget_bytes(platform, 0, 1)
    loaded = fitted(load(folder, RunnerSettings(), platform, budget), platform)
    facts = measure(loaded, platform, budget, 2 * long_tokens)
    forms = {"groups": facts, "padded": structs.replace(facts, group_bounds_tokens=())}
    benches = {name: Bench(loaded, each, rows, long_tokens) for name, each in forms.items()}
    turns = [{name: bench.turn() for name, bench in benches.items()} for _ in range(REPEATS)]
    return {
        "device": platform.description,
        "mlx": mx.__version__,
        "compute": facts.compute,
        "short_rows": rows,
        "short_tokens": SHORT_TOKENS,
        "long_tokens": long_tokens,
        "medians": {
            name: {key: median(turn[name][key] for turn in turns) for key in turns[0][name]} for name in forms
        },
        "turns": turns,
    }


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[2:]] + [4, 1400][len(sys.argv) - 2 :]
    print(json.dumps(measured(Path(sys.argv[1]), *numbers), indent=1))
