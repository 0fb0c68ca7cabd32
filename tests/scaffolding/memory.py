"""How many bytes are held, read when nothing is about to be given back."""

import mlx.core as mx

from allod.core.ports import Runner


def active_bytes() -> int:
    """What MLX counts once the device is done.

    On CUDA a step's temporaries are freed by another thread after its tokens have come. A server reads the
    counter as it is: to wait there would hold up the next step.
    """
    mx.synchronize()
    return mx.get_active_memory()


def held_bytes(runner: Runner) -> int:
    """What a runner says of itself then, also one that has no device."""
    mx.synchronize()
    return runner.memory().active_bytes
