"""How a family of mlx-vlm looks at a picture; as it stands here, for those that need no correction."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from allod.runner.arch.model import VisionLanguageModel

Arrays = Mapping[str, mx.array]

DEEP = "deepstack_visual_embeds"
ALIGNED = ("inputs_embeds", "per_layer_inputs")
"""What of a family's embeddings has one entry for each token on axis 1."""


class Family:
    """One family.

    Attributes:
        whole_spans: the tokens of a picture see each other both ways, so that they are read together.
    """

    whole_spans = False

    def __init__(self, model: VisionLanguageModel) -> None:
        self._model = model

    def look(self, ids: mx.array, tensors: Arrays) -> dict[str, mx.array]:
        """What stands at the tokens of a picture's span.

        Args:
            ids: (1, L) the tokens.
            tensors: what the family's processor made of the picture; `pixel_values` among them.

        Returns:
            Arrays by the names of mlx-vlm's `InputEmbeddingsFeatures`: those in ALIGNED, and DEEP.
        """
        return self._embedded(ids, **tensors)

    def words(self, ids: mx.array) -> dict[str, mx.array]:
        """What stands at the tokens of a text; the same names without DEEP."""
        return self._embedded(ids)

    def arguments(self, is_picture: mx.array) -> dict[str, mx.array]:
        """What the language model is told beside the embeddings of a chunk; (1, T) says what is picture."""
        return {}

    def _embedded(self, ids: mx.array, **tensors: mx.array) -> dict[str, mx.array]:
        mask = mx.ones(ids.shape, dtype=mx.int32)
        found = self._model.get_input_embeddings(ids, mask=mask, **tensors).to_dict()
        named = {name: found.get(name) for name in (*ALIGNED, DEEP)}
        return {name: array for name, array in named.items() if array is not None}
