"""A model for a draft model, for machines that have no such pair: with many times the layers of another.

Usage: python bench/deepen.py FOLDER TARGET TIMES

Writes the checkpoint in FOLDER with so many times as many layers, of which the additional ones add nothing.
It says what FOLDER says, takes longer, and FOLDER is always right when it drafts for it: an upper bound of
what a pair can bring (`bench/draft_models.py`).
"""

import json
import re
import shutil
import sys
from pathlib import Path

import mlx.core as mx

ADDING = ("self_attn.o_proj", "mlp.down_proj")
"""What a layer adds to what comes in goes through these."""


def deepen(folder: Path, target: Path, times: int) -> None:
    """Write a checkpoint with more layers that says the same."""
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    target.mkdir()
    for path in folder.iterdir():
        if path.suffix != ".safetensors" and path.name not in ("card.json", "config.json"):
            shutil.copy(path, target)
    config["num_hidden_layers"] = times * layers
    (target / "config.json").write_text(json.dumps(config))
    weights = {
        name: array
        for path in folder.glob("model*.safetensors")
        for name, array in mx.load(str(path)).items()
    }
    deep = dict(weights)
    for name, array in weights.items():
        if (place := re.search(r"layers\.(\d+)\.", name)) is None:
            continue
        # Packed weights are zero where scales and biases are.
        is_silent = any(each in name for each in ADDING) and array.dtype != mx.uint32
        for copy in range(1, times):
            number = int(place[1]) + copy * layers
            further = f"{name[: place.start(1)]}{number}{name[place.end(1) :]}"
            deep[further] = mx.zeros_like(array) if is_silent else array
    mx.save_safetensors(str(target / "model.safetensors"), deep)


if __name__ == "__main__":
    deepen(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
