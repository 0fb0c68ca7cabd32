"""A family's own processor: picture files to the tokens and tensors that its model reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import mlx.core as mx
import numpy as np
from mlx_vlm.utils import get_model_and_args, load_image_processor, load_processor

from allod.core.pictures import PictureRefused, PreparedPicture, Tensor
from allod.core.step import MemoryReading, ModelFacts
from allod.media.decode import decode, scaled
from allod.media.settings import Limits
from allod.runner.arch.layout import IDS, Layout, layout_of
from allod.runner.arch.model import image_token_of
from allod.runner.load import refuse_code
from allod.runner.loaded import CannotLoad, Config

_ALONG_TOKENS = frozenset({IDS, "attention_mask", "token_type_ids", "mm_token_type_ids"})
"""What a processor gives for each token; the runner makes its own for the prompt as a whole."""


class MlxProcessor:
    """A `Preprocessor` over mlx-vlm's processors, which compute with numpy and Pillow.

    Args:
        layout: the family's, made from a checkpoint.
        image_token: the token that stands for a piece of a picture.
        limits: what files may announce.
    """

    def __init__(self, layout: Layout, image_token: int, limits: Limits) -> None:
        self._layout = layout
        self._image_token = image_token
        self._limits = limits

    @property
    def facts(self) -> ModelFacts:
        """Nothing that anybody asks a processor about."""
        return ModelFacts(
            weights_bytes=0,
            budget_bytes=0,
            layers=(),
            capacity_step_tokens=1,
            transient_bytes_per_token=0,
            transient_bytes_per_token_and_context=0,
            context_tokens=0,
            vocabulary=0,
            batchable=False,
            alone_because="it prepares pictures",
            compute="pixels",
            device="cpu",
        )

    def prepare(self, file: bytes, form: str, max_pixels: int) -> PreparedPicture:
        """Decode a file and lay it out for the model; see `Preprocessor`."""
        image = scaled(decode(file, self._limits), max_pixels)
        try:
            return self._prepared(self._layout.of(image, form))
        except PictureRefused:
            raise
        except Exception as error:  # each family has errors of its own
            raise PictureRefused(
                f"is a picture of {image.width} x {image.height} pixels that this model's processor does not "
                f"take ({type(error).__name__}: {error}); send one of more usual proportions"
            ) from error

    def memory(self) -> MemoryReading:
        """MLX's counters: what tensors are on their way."""
        return MemoryReading(mx.get_active_memory(), mx.get_cache_memory(), mx.get_peak_memory())

    def _prepared(self, made: Mapping[str, object]) -> PreparedPicture:
        tokens = tuple(int(token) for token in _numbers(made[IDS]).reshape(-1))
        if self._image_token not in tokens:
            raise PictureRefused(
                "has no place in what this model's chat template writes for pictures; send words only, "
                "or ask another model"
            )
        kept = {
            name: value for name, value in made.items() if name not in _ALONG_TOKENS and value is not None
        }
        return PreparedPicture(tokens, tuple(_tensor(name, value) for name, value in kept.items()))


def load_preprocessor(folder: Path, limits: Limits) -> MlxProcessor:
    """The processor of a catalogue folder. No weights are read.

    Raises:
        CannotLoad: the checkpoint lacks what its processor is made from.
    """
    config = refuse_code(folder)
    try:
        # The family's module also teaches transformers which processor the family has.
        package, model_type = get_model_and_args(config)
        family_config: object = package.ModelConfig.from_dict(_complete(config))
        own = load_image_processor(folder)
        processor = load_processor(folder, add_detokenizer=False)
    except Exception as error:  # as many errors as families
        raise CannotLoad(
            f"its image processor cannot be made: {error}; import the checkpoint again, with all of its "
            "*processor*.json files"
        ) from error
    if own is not None:
        processor.image_processor = own
    return MlxProcessor(layout_of(model_type, processor), image_token_of(family_config), limits)


def _complete(config: Config) -> Config:
    """A config as mlx-vlm's loader hands it to a family."""
    text: object = config.get("llm_config", {})
    return {"text_config": text, "vision_config": {}, "audio_config": {}, **config}


def _numbers(value: object) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    if isinstance(value, list):
        return np.stack([_numbers(each) for each in cast("list[object]", value)])
    return np.asarray(value)


def _tensor(name: str, value: object) -> Tensor:
    numbers = np.ascontiguousarray(_numbers(value))
    if numbers.dtype == np.float64:
        numbers = numbers.astype(np.float32)
    little = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)
    return Tensor(name, numbers.dtype.name, numbers.shape, little.tobytes())
