"""The order of the rows of q and k, and the frequencies of Llama 3."""

import math

import numpy as np
from numpy.typing import NDArray

from allod.core.errors import ImportRefused

_LOW_FREQUENCY_FACTOR = 1.0
_HIGH_FREQUENCY_FACTOR = 4.0
_ORIGINAL_CONTEXT_TOKENS = 8192


def half_split_rows(rows: NDArray[np.uint8], heads: int) -> NDArray[np.uint8]:
    """Undo llama.cpp's order of q and k rows.

    llama.cpp (convert_hf_to_gguf.py, `permute`) stores row pairs (i, i + d/2) of each head next to each
    other, for a rotation of neighbours; MLX rotates halves, so that each pair moves apart again.

    Args:
        rows: any array whose first axis counts heads * d rows.
        heads: attention heads these rows belong to.
    """
    if heads < 1 or rows.shape[0] % (2 * heads):
        raise ImportRefused(f"{rows.shape[0]} rows cannot belong to {heads} heads of even size")
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


def llama3_scaling(factors: NDArray[np.float32], base: float) -> dict[str, object] | None:
    """The `rope_scaling` of config.json that gives these frequency factors, or None when none does.

    llama.cpp stores the factors by which Llama 3 slows its frequencies down; MLX computes them itself from
    four numbers. Three of them are the same in every release; the formula (transformers,
    `_compute_llama3_parameters`) says whether they fit.
    """
    largest = float(factors.max())
    inverse = base ** (-np.arange(len(factors)) / len(factors))
    wavelengths = 2 * math.pi / inverse
    smooth = (_ORIGINAL_CONTEXT_TOKENS / wavelengths - _LOW_FREQUENCY_FACTOR) / (
        _HIGH_FREQUENCY_FACTOR - _LOW_FREQUENCY_FACTOR
    )
    kept = np.clip(smooth, 0.0, 1.0)
    expected = 1 / ((1 - kept) / largest + kept)
    if not np.allclose(factors, expected, rtol=1e-4):
        return None
    return {
        "rope_type": "llama3",
        "factor": largest,
        "low_freq_factor": _LOW_FREQUENCY_FACTOR,
        "high_freq_factor": _HIGH_FREQUENCY_FACTOR,
        "original_max_position_embeddings": _ORIGINAL_CONTEXT_TOKENS,
    }
