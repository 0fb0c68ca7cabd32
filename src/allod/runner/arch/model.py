"""What mlx-vlm's models have in common; each family has classes `Model` and `LanguageModel` of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import mlx.core as mx

from allod.runner.loaded import CannotLoad
from mlx import nn


class Output(Protocol):
    """What a language model returns."""

    logits: mx.array


class Embeddings(Protocol):
    """What stands at the tokens of a prompt, by names; those that a family has no use for are None."""

    def to_dict(self) -> Mapping[str, mx.array | None]:
        """All of it."""
        ...


class Parametric(Protocol):
    """Something with parameters."""

    def parameters(self) -> dict[str, object]:
        """All of them, as a tree."""
        ...


class LanguageModel(Parametric, Protocol):
    """The part that reads and writes: (B, T) ids to logits (B, T, V)."""

    config: object
    model: nn.Module

    def __call__(self, inputs: mx.array, *, cache: object = None, **arguments: object) -> Output:
        """Read tokens, or the embeddings that stand at them, and advance the cache."""
        ...


class VisionLanguageModel(Parametric, Protocol):
    """The whole: towers, what connects them, and a language model."""

    config: object
    language_model: LanguageModel

    def get_input_embeddings(
        self, input_ids: mx.array, pixel_values: mx.array | None = None, **arguments: object
    ) -> Embeddings:
        """What stands at tokens of which some may be a picture."""
        ...

    def named_modules(self) -> list[tuple[str, nn.Module]]:
        """All modules by their paths."""
        ...

    def keys(self) -> Iterable[str]:
        """Names of the parts."""
        ...

    def pop(self, name: str) -> object:
        """Take a part out."""
        ...


def image_token_of(config: object) -> int:
    """The token that stands for a piece of a picture, by a family's own config.

    Families know it by one of two names, and fill in what config.json leaves out.

    Raises:
        CannotLoad: it has none.
    """
    for name in ("image_token_index", "image_token_id"):
        found: object = getattr(config, name, None)
        if isinstance(found, int):
            return found
    raise CannotLoad("config.json does not say which token stands for a picture (image_token_id)")
