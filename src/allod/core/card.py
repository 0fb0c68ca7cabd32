"""What is known about a model without loading it."""

from typing import Literal

import msgspec

from allod.core.ids import ModelName
from allod.core.sampling import SamplingWishes

CARD_VERSION = 1

Purpose = Literal["text", "embedding"]


class ModelCard(msgspec.Struct, frozen=True):
    """One entry of the catalogue, stored as `card.json` beside the weights.

    Attributes:
        name: the key clients use.
        architecture: `model_type` of config.json.
        context_tokens: the longest prompt plus answer the checkpoint was made for.
        weights_bytes: bytes of all tensors as stored.
        quantization: words for the stored form, such as `4-bit g32` or `bfloat16`.
        created: seconds since the epoch when it was imported.
        source: where it came from, in words a person can act on.
        kind: how the weights arrived.
        vocabulary: number of token ids the model scores.
        stop_tokens: ids that end an answer: union of tokenizer, generation_config and template.
        sampling: what the checkpoint's generation_config asks for.
        has_chat_template: whether conversations can be rendered.
        purpose: whether it generates text or embeds it.
        tool_dialect: how it writes tool calls, where the chat template does not tell; else None.
        vision: whether it can look at pictures.
        draft: the model that drafts for it, by its key; None where none does.
        version: layout of this record.
    """

    name: ModelName
    architecture: str
    context_tokens: int
    weights_bytes: int
    quantization: str
    created: int
    source: str
    kind: Literal["directory", "gguf", "hub", "package"]
    vocabulary: int
    stop_tokens: tuple[int, ...]
    sampling: SamplingWishes
    has_chat_template: bool
    purpose: Purpose = "text"
    tool_dialect: str | None = None
    vision: bool = False
    draft: ModelName | None = None
    version: int = CARD_VERSION
