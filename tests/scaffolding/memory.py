"""How many bytes a runner holds, read when nothing is about to be given back."""

import mlx.core as mx

from allod.core.ports import Runner


def held_bytes(runner: Runner) -> int:
    """What is counted once the device is done, also for a runner that has none.

    On CUDA a step's temporaries are freed by another thread after its tokens have come. A server reads the
    counter as it is: to wait there would hold up the next step.
    """
    mx.synchronize()
    return runner.memory().active_bytes
