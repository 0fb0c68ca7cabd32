"""GGUF metadata as the config.json that MLX reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from allod.registry.gguf.header import StoredMatrix
from allod.registry.gguf.metadata import Metadata
from allod.registry.gguf.names import EMBEDDING, OUTPUT, Architecture, has_bias, mapped_name
from allod.registry.gguf.tensors import GROUP_SIZE, QUANTISED

_SCALINGS = ("linear", "yarn")


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention heads of a model."""

    query: int
    key_value: int
    size: int


def read_heads(metadata: Metadata, architecture: Architecture) -> Heads:
    """The attention heads of a model.

    Raises:
        ImportRefused: the numbers are missing, or of a kind that the architecture does not have.
    """
    prefix = architecture.name
    query = metadata.positive(f"{prefix}.attention.head_count")
    key_value = metadata.integer_or(f"{prefix}.attention.head_count_kv", query)
    size_key = f"{prefix}.attention.key_length"
    size = metadata.integer_or(size_key, metadata.positive(f"{prefix}.embedding_length") // query)
    if key_value < 1 or query % key_value:
        raise metadata.refusal(
            f"{prefix}.attention.head_count_kv", f"is {key_value}, no part of {query} heads"
        )
    if size < 2 or size % 2:
        raise metadata.refusal(size_key, f"gives heads of size {size}")
    rotated = metadata.integer_or(f"{prefix}.rope.dimension_count", size)
    if rotated != size:
        raise metadata.refusal(
            f"{prefix}.rope.dimension_count",
            f"rotates {rotated} of {size} dimensions; only whole heads are taken",
        )
    return Heads(query, key_value, size)


def config_of(
    metadata: Metadata,
    architecture: Architecture,
    tensors: Mapping[str, StoredMatrix],
    rope_factors: Mapping[str, object] | None,
) -> dict[str, object]:
    """The config.json of a model.

    Args:
        metadata: the file's pairs.
        architecture: its layout.
        tensors: its tensors by llama.cpp's names.
        rope_factors: the `rope_scaling` that its stored frequency factors stand for, if it has any.

    Raises:
        ImportRefused: something is missing or cannot be said in a config.json.
    """
    prefix = architecture.name
    heads = read_heads(metadata, architecture)
    config: dict[str, object] = {
        "model_type": architecture.name,
        "architectures": [architecture.class_name],
        "hidden_size": metadata.positive(f"{prefix}.embedding_length"),
        "intermediate_size": metadata.positive(f"{prefix}.feed_forward_length"),
        "num_hidden_layers": metadata.positive(f"{prefix}.block_count"),
        "num_attention_heads": heads.query,
        "num_key_value_heads": heads.key_value,
        "head_dim": heads.size,
        "max_position_embeddings": metadata.positive(f"{prefix}.context_length"),
        "rms_norm_eps": metadata.number(f"{prefix}.attention.layer_norm_rms_epsilon"),
        "rope_theta": metadata.number_or(f"{prefix}.rope.freq_base", 10_000.0),
        "vocab_size": tensors[EMBEDDING].shape[0],
        "tie_word_embeddings": OUTPUT not in tensors,
        "attention_bias": bool(architecture.biased) or has_bias(architecture, frozenset(tensors)),
    }
    scaling = rope_factors or _rope_scaling(metadata, prefix)
    if scaling:
        config["rope_scaling"] = dict(scaling)
    quantization = _quantization(architecture, list(tensors.values()))
    if quantization:
        config["quantization"] = quantization
    for name in ("bos", "eos"):
        key = f"tokenizer.ggml.{name}_token_id"
        if key in metadata:
            config[f"{name}_token_id"] = metadata.integer(key)
    return config


def _rope_scaling(metadata: Metadata, prefix: str) -> dict[str, object]:
    key = f"{prefix}.rope.scaling.type"
    kind = metadata.text_or(key, "none")
    if kind == "none":
        return {}
    if kind not in _SCALINGS:
        raise metadata.refusal(key, f"is {kind!r}; `none`, `linear` and `yarn` are taken")
    scaling: dict[str, object] = {
        "rope_type": kind,
        "type": kind,
        "factor": metadata.number(f"{prefix}.rope.scaling.factor"),
    }
    original = f"{prefix}.rope.scaling.original_context_length"
    if original in metadata:
        scaling["original_max_position_embeddings"] = metadata.positive(original)
    return scaling


def _quantization(architecture: Architecture, tensors: Sequence[StoredMatrix]) -> dict[str, object]:
    """MLX's `quantization`: what most modules have, and an entry for each that differs."""
    bits_of = {
        (mapped_name(architecture, tensor.name) or tensor.name).removesuffix(".weight"): QUANTISED[
            tensor.type
        ].bits
        for tensor in tensors
        if tensor.type in QUANTISED
    }
    if not bits_of:
        return {}
    ((usual, _),) = Counter(bits_of.values()).most_common(1)
    different = {
        module: {"group_size": GROUP_SIZE, "bits": bits} for module, bits in bits_of.items() if bits != usual
    }
    return {"group_size": GROUP_SIZE, "bits": usual, **different}
