"""How a family's processor is asked about one picture, and what is corrected in processors.

Processors are called as they are: mlx-vlm 0.7.10's own `prepare_inputs` lets the tokenizer add a second BOS
for most families, and fails for LLaVA, whose processor hands the tokenizer's options to the image processor.
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
from PIL import Image
from transformers.processing_utils import ProcessorMixin

IDS = "input_ids"
"""What processors call the tokens that they make."""


class Tokenizer(Protocol):
    """What is used of a processor's tokenizer."""

    bos_token_id: int | None
    bos_token: str | None


class Layout:
    """Asks a processor.

    Args:
        processor: the family's, made from a checkpoint.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        self._processor = processor

    def of(self, image: Image.Image, form: str) -> dict[str, object]:
        """What becomes of a text that is one picture's form, without what the tokenizer adds to texts."""
        made = dict(self._processor(text=[form], images=[image]))
        ids = np.asarray(made[IDS]).reshape(-1).tolist()
        tokenizer = cast("Tokenizer", getattr(self._processor, "tokenizer", self._processor))
        opens_itself = tokenizer.bos_token is not None and form.startswith(tokenizer.bos_token)
        if ids and ids[0] == tokenizer.bos_token_id and not opens_itself:
            ids = ids[1:]
        return {**made, IDS: np.array(ids, dtype=np.int64)}


class Llama4Layout(Layout):
    """Llama 4, with one tile for each picture.

    mlx-vlm 0.7.10 lays out places for a global tile beside the others and makes no features for it, so that
    the model would read past the end of its features (mlx_vlm/models/llama4/processing_llama4.py).
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        super().__init__(processor)
        cast("Tiler", processor.image_processor).max_patches = 1


class Tiler(Protocol):
    """What is used of Llama 4's image processor."""

    max_patches: int


def layout_of(model_type: str, processor: ProcessorMixin) -> Layout:
    """The layout of a family, by what mlx-vlm calls it."""
    return Llama4Layout(processor) if model_type == "llama4" else Layout(processor)
