"""How near two arrays are to each other."""

import mlx.core as mx


def distance(found: mx.array, wanted: mx.array) -> float:
    """Relative L2 distance."""
    found, wanted = found.astype(mx.float32), wanted.astype(mx.float32)
    return (mx.linalg.norm(found - wanted) / mx.linalg.norm(wanted)).item()
