"""Quantised small models with random weights."""

import json
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

from mlx import nn
from tests.scaffolding.families import write_random_model

GROUP = 32


def write_packed_model(
    family: str, folder: Path, bits: int = 4, dtype: mx.Dtype = mx.float16, **changes: object
) -> Path:
    """A model of this family with weights of so many bits, and scales of this dtype."""
    write_random_model(family, folder, changes=changes)
    model, config = load_model(folder)
    model.set_dtype(dtype)
    nn.quantize(model, group_size=GROUP, bits=bits)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    quantization = {"group_size": GROUP, "bits": bits}
    (folder / "config.json").write_text(json.dumps({**config, "quantization": quantization}))
    return folder
