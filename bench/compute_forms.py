"""A model's decode step and a chunk of a prompt, in every form of its weights, alternating in one process.

Usage: python bench/compute_forms.py MODEL_FOLDER [DEVICE [FORM,...]]. Prints JSON. DEVICE is `cpu`, `cuda` or
`metal`.

`plain` are weights unpacked by mlx-lm, multiplied rows first; `stored`, `dense` and `auto` are what
`runner.compute` names. Milliseconds: the least and the median of the rounds. The forms take turns, because
what else runs on a machine changes from second to second.
"""

import json
import logging
import statistics
import sys
import time
from pathlib import Path

from allod.config import offer
from allod.device import blas
from allod.device.settings import DeviceSettings

DEVICE = sys.argv[2] if len(sys.argv) > 2 else "auto"
FORMS = sys.argv[3].split(",") if len(sys.argv) > 3 else ["stored", "dense", "auto", "plain"]
BLAS = blas.prepare(DeviceSettings(), offer) if DEVICE in ("auto", "cpu") else None

import mlx.core as mx  # noqa: E402 - a BLAS comes before MLX
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402
from mlx_lm.utils import dequantize_model, load_model  # noqa: E402

from allod.device.choose import choose  # noqa: E402
from allod.runner.load import load  # noqa: E402
from allod.runner.settings import RunnerSettings  # noqa: E402

ROUNDS = 30
WARM_UP = 2
CONTEXT = 8
PLAIN = "plain"
SLOW_SECONDS = 0.5
SLOW_ROUNDS = 3
DECODE_ROWS = (1, 4, 8, 12, 32)
PREFILL_TOKENS = 512


def plain(folder, dtype):
    """The model as mlx-lm unpacks it."""
    model, _ = load_model(folder, lazy=True)
    if dtype is not None:
        model.set_dtype(dtype)
    dequantize_model(model)
    mx.eval(model.parameters())
    return model


def decode(model, rows):
    """One decode step of so many rows, as a function."""
    tokens = mx.array([[5 + row] for row in range(rows)])
    state = make_prompt_cache(model)
    mx.eval(model(mx.array([[7 + row] * CONTEXT for row in range(rows)]), cache=state))

    def step():
        mx.eval(mx.argmax(model(tokens, cache=state)[:, -1], axis=-1))
        for layer in state:
            layer.trim(1)

    return step


def prefill(model):
    """One chunk of a prompt, whose tokens are not scored."""

    def step():
        state = make_prompt_cache(model)
        model(mx.array([[7] * PREFILL_TOKENS]), cache=state)
        mx.eval([layer.state for layer in state])

    return step


def alternate(steps):
    """Milliseconds by name: the steps take turns."""
    times = {name: [] for name in steps}
    for turn in range(WARM_UP + ROUNDS):
        for name, step in steps.items():
            if len(times[name]) >= SLOW_ROUNDS and times[name][0] > 1000 * SLOW_SECONDS:
                continue
            started = time.perf_counter()
            step()
            if turn >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - started))
    return {
        name: {"least": round(min(taken), 2), "median": round(statistics.median(taken), 2)}
        for name, taken in times.items()
    }


def main():
    """Measure and print."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    folder = Path(sys.argv[1])
    platform = choose(DEVICE)
    budget_bytes = platform.default_budget_bytes()
    models, words, seconds = {}, {}, {}
    for name in [name for name in FORMS if name != PLAIN]:
        started = time.perf_counter()
        loaded = load(folder, RunnerSettings(compute=name, vision="off"), platform, budget_bytes)
        seconds[name] = round(time.perf_counter() - started, 2)
        models[name], words[name] = loaded.network.model, loaded.compute
    wide = platform.widened_dtype
    if PLAIN in FORMS:
        models[PLAIN] = plain(folder, getattr(mx, wide) if wide else None)
    size = {name: sum(a.nbytes for _, a in tree_flatten(m.parameters())) for name, m in models.items()}
    figures = {
        "device": platform.description,
        "mlx": mx.__version__,
        "blas": BLAS,
        "model": folder.name,
        "compute": words,
        "load_seconds": seconds,
        "weights_mib": {name: round(bytes_ / 2**20) for name, bytes_ in size.items()},
        "decode_ms": {
            str(rows): alternate({name: decode(model, rows) for name, model in models.items()})
            for rows in DECODE_ROWS
        },
        "prefill_512_ms": alternate({name: prefill(model) for name, model in models.items()}),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
