"""BERT as an encoder (Devlin et al. 2019, arXiv 1810.04805): ids in, one state per token out.

Layer norms stand behind the residuals, positions are learned, every token sees every other one of its row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx

_LEAST = -1e9


@dataclass(frozen=True, slots=True)
class BertShape:
    """The numbers of one checkpoint."""

    layers: int
    heads: int
    hidden: int
    norm_epsilon: float
    positions: int
    vocabulary: int


class Bert:
    """The forward pass over a checkpoint's tensors, by the names that transformers gives them.

    Args:
        tensors: without the prefix `bert.`, in the dtype to compute in.
        shape: the numbers that belong to them.

    Raises:
        KeyError: a tensor is missing.
    """

    def __init__(self, tensors: Mapping[str, mx.array], shape: BertShape) -> None:
        self.shape = shape
        self._tensors = {name: tensors[name] for name in tensor_names(shape)}

    def parameters(self) -> list[mx.array]:
        """Every tensor that is used."""
        return list(self._tensors.values())

    def __call__(self, ids: mx.array, mask: mx.array) -> mx.array:
        """States of all tokens.

        Args:
            ids: (rows, length) token ids, padded on the right.
            mask: (rows, length), 1.0 for tokens and 0.0 for padding.

        Returns:
            (rows, length, hidden); what stands at padding means nothing.
        """
        tensors = self._tensors
        states = (
            tensors["embeddings.word_embeddings.weight"][ids]
            + tensors["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        states = self._norm("embeddings.LayerNorm", states)
        unseen = ((1.0 - mask) * _LEAST)[:, None, None, :]
        for layer in range(self.shape.layers):
            states = self._layer(f"encoder.layer.{layer}", states, unseen)
        return states

    def _layer(self, name: str, states: mx.array, unseen: mx.array) -> mx.array:
        attended = self._attention(f"{name}.attention.self", states, unseen)
        attended = self._linear(f"{name}.attention.output.dense", attended)
        states = self._norm(f"{name}.attention.output.LayerNorm", states + attended)
        inner = _gelu(self._linear(f"{name}.intermediate.dense", states))
        return self._norm(f"{name}.output.LayerNorm", states + self._linear(f"{name}.output.dense", inner))

    def _attention(self, name: str, states: mx.array, unseen: mx.array) -> mx.array:
        rows, length, hidden = states.shape
        width = hidden // self.shape.heads

        def heads_of(part: str) -> mx.array:
            return (
                self._linear(f"{name}.{part}", states).reshape(rows, length, -1, width).transpose(0, 2, 1, 3)
            )

        mixed = mx.fast.scaled_dot_product_attention(
            heads_of("query"), heads_of("key"), heads_of("value"), scale=width**-0.5, mask=unseen
        )
        return mixed.transpose(0, 2, 1, 3).reshape(rows, length, hidden)

    def _linear(self, name: str, states: mx.array) -> mx.array:
        return states @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]

    def _norm(self, name: str, states: mx.array) -> mx.array:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        return mx.fast.layer_norm(states, weight, bias, self.shape.norm_epsilon)


def tensor_names(shape: BertShape) -> list[str]:
    """The tensors that an encoder needs."""
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    pairs = ["embeddings.LayerNorm"]
    for layer in range(shape.layers):
        parts = ("attention.self.query", "attention.self.key", "attention.self.value")
        ends = ("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense")
        pairs += [
            f"encoder.layer.{layer}.{part}" for part in (*parts, *ends, "output.dense", "output.LayerNorm")
        ]
    return [f"embeddings.{table}.weight" for table in tables] + [
        f"{pair}.{kind}" for pair in pairs for kind in ("weight", "bias")
    ]


def _gelu(states: mx.array) -> mx.array:
    """The exact form, with the error function (Hendrycks and Gimpel 2016, arXiv 1606.08415)."""
    return states * (mx.erf(states * 2**-0.5) + 1.0) * 0.5
