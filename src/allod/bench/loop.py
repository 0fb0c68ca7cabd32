"""The raw loop of a model, measured in a process of its own: it needs MLX, and this one must not have it."""

import subprocess
from collections.abc import Sequence

import msgspec

from allod.bench.raw import RawLoop
from allod.core.errors import ModelUnavailable


def raw_loop(argv: Sequence[str]) -> RawLoop:
    """Run the process that measures and read what it prints.

    Args:
        argv: its command line. What it says of itself goes to this process's stderr, but for the last words
            of one that fails.

    Raises:
        ModelUnavailable: the model cannot be loaded, or the process ended badly.
    """
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        raise ModelUnavailable(
            f"the raw loop ended with {done.returncode}: {words[-1] if words else 'without a word'}"
        )
    try:
        return msgspec.json.decode(done.stdout, type=RawLoop)
    except msgspec.MsgspecError as error:
        raise ModelUnavailable(f"the raw loop printed something else than figures: {error}") from error
