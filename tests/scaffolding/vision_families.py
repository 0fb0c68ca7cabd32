"""Small vision-language models with random weights and real processors, saved as folders."""

import importlib
import json
import math
import zlib
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from PIL import Image

from tests.scaffolding.vision import gemma, grids, qwen, towers
from tests.scaffolding.vision.parts import PRINTABLE, VisionFamily, write_texts

VISION_FAMILIES: dict[str, VisionFamily] = {
    **qwen.FAMILIES,
    **gemma.FAMILIES,
    **towers.FAMILIES,
    **grids.FAMILIES,
}

_loader: Any = importlib.import_module("mlx_vlm.utils")  # its parts, untyped: more than its stub names
_MODULES = ["text", "vision", "perceiver", "projector", "audio"]


def save_vision_family(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint of this family that mlx-vlm loads, with weights drawn from `seed`."""
    return save_checkpoint(VISION_FAMILIES[name], name, folder, seed)


def save_checkpoint(family: VisionFamily, name: str, folder: Path, seed: int = 0) -> Path:
    """The same for a family that is not among them, such as one of them in another size."""
    write_texts(family, folder)
    mx.random.seed(zlib.crc32(f"{name} {family.draw + seed}".encode()))
    model = _built(json.loads(json.dumps(family.config)))
    drawn = {path: _drawn(path, value) for path, value in tree_flatten(model.parameters())}
    weights = {path: _balanced(path, value, family.embedding) for path, value in drawn.items()}
    if family.config.get("torch_dtype") == "bfloat16":
        weights = {path: value.astype(mx.bfloat16) for path, value in weights.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return folder


def _built(config: dict[str, Any]) -> Any:
    """The model as mlx-vlm's loader builds it before it reads the weights."""
    package, _ = _loader.get_model_and_args(config)
    config.setdefault("text_config", config.pop("llm_config", {}))
    config.setdefault("vision_config", {})
    config.setdefault("audio_config", {})
    arguments = package.ModelConfig.from_dict(config)
    return package.Model(_loader.update_module_configs(arguments, package, config, _MODULES))


def _drawn(path: str, value: mx.array) -> mx.array:
    """Random values, large enough that no two tokens are nearly tied.

    What a token takes from the others weighs more than what it is: an answer then depends on the whole
    prompt, and on its pictures, and not on the last token alone.
    """
    if path.endswith("A_log"):
        return mx.log(mx.random.uniform(0.001, 0.1, value.shape))
    if path.endswith(("q_norm.weight", "k_norm.weight")):
        return value * 1.5
    if value.ndim < 2:
        return value
    convolution = value.ndim > 2 and ("patch" in path or "conv" in path)
    fan_in = math.prod(value.shape[1:]) if convolution else value.shape[-1]
    gain = 6.0 if path.endswith(("o_proj.weight", "out_proj.weight")) else 2.0
    return mx.random.normal(value.shape) * (gain / fan_in**0.5)


def _balanced(path: str, value: mx.array, embedding: float) -> mx.array:
    """Embeddings of the family's size, logits of the usual size, and small ones for what is not text.

    An answer is therefore printable, and never ends early.
    """
    if path.endswith("language_model.model.norm.weight"):
        return value / embedding
    if not path.endswith(("embed_tokens.weight", "lm_head.weight")):
        return value
    value = value * embedding if "embed_tokens" in path else value
    quiet = mx.arange(value.shape[0])[:, None] >= PRINTABLE
    return mx.where(quiet, value * 0.25, value)


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Slopes, stripes and noise that differ from seed to seed in every part of the picture."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.zeros((height, width, 3))
    for channel in range(3):
        across, down = random.uniform(1.0, 6.0, 2)
        phase = random.uniform(0.0, 2 * math.pi)
        wave = np.sin(2 * math.pi * (across * columns / width + down * rows / height) + phase)
        pixels[:, :, channel] = 90 * wave + random.uniform(80, 175)
    coarse = random.uniform(-60, 60, ((height + 7) // 8, (width + 7) // 8, 3))
    pixels += np.kron(coarse, np.ones((8, 8, 1)))[:height, :width]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
