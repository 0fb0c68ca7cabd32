"""What llama.cpp calls a tensor, and what MLX calls it, as data for each architecture."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from allod.core.errors import ImportRefused

_BLOCK = re.compile(r"blk\.(\d{1,4})\.(.+)\.(weight|bias)")
_OUTSIDE = re.compile(r"(.+)\.(weight|bias)")

ROPE_FACTORS = "rope_freqs.weight"
OUTPUT = "output.weight"
EMBEDDING = "token_embd.weight"

_OUTSIDE_NAMES: Mapping[str, str] = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LLAMA_BLOCK: Mapping[str, str] = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_QWEN3_BLOCK: Mapping[str, str] = {
    **_LLAMA_BLOCK,
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one architecture is laid out.

    Attributes:
        name: llama.cpp's name, which is also MLX's `model_type`.
        class_name: the class transformers has for it.
        block: module names inside a layer.
        has_interleaved_rope: llama.cpp stores the rows of q and k interleaved.
        biased: modules of a layer that always have a bias.
        all_biased: modules that have a bias together or not at all.
    """

    name: str
    class_name: str
    block: Mapping[str, str]
    has_interleaved_rope: bool = False
    biased: tuple[str, ...] = ()
    all_biased: tuple[str, ...] = ()


_QKV = ("attn_q", "attn_k", "attn_v")

ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "llama",
            "LlamaForCausalLM",
            _LLAMA_BLOCK,
            has_interleaved_rope=True,
            all_biased=(*_QKV, "attn_output"),
        ),
        Architecture("qwen2", "Qwen2ForCausalLM", _LLAMA_BLOCK, biased=_QKV),
        Architecture("qwen3", "Qwen3ForCausalLM", _QWEN3_BLOCK),
    )
}


def architecture_named(name: str) -> Architecture:
    """The layout of an architecture.

    Raises:
        ImportRefused: it is not one of the known ones.
    """
    if name not in ARCHITECTURES:
        raise ImportRefused(
            f"GGUF files of the architecture {name[:100]!r} are not imported; the known ones are "
            f"{', '.join(ARCHITECTURES)}; import the model's safetensors checkpoint instead"
        )
    return ARCHITECTURES[name]


def mapped_name(architecture: Architecture, name: str) -> str | None:
    """MLX's name of a tensor, or None when the architecture has none for it."""
    if found := _BLOCK.fullmatch(name):
        layer, module, kind = found.groups()
        if module not in architecture.block or (kind == "bias" and not _may_be_biased(architecture, module)):
            return None
        return f"model.layers.{int(layer)}.{architecture.block[module]}.{kind}"
    if found := _OUTSIDE.fullmatch(name):
        module, kind = found.groups()
        return f"{_OUTSIDE_NAMES[module]}.weight" if module in _OUTSIDE_NAMES and kind == "weight" else None
    return None


def needed_names(architecture: Architecture, layers: int, *, with_bias: bool) -> frozenset[str]:
    """llama.cpp's names of every tensor that a model of so many layers has to have."""
    biased = (*architecture.biased, *(architecture.all_biased if with_bias else ()))
    inside = [f"{module}.weight" for module in architecture.block] + [f"{module}.bias" for module in biased]
    return frozenset(
        {
            EMBEDDING,
            "output_norm.weight",
            *(f"blk.{layer}.{name}" for layer in range(layers) for name in inside),
        }
    )


def has_bias(architecture: Architecture, names: frozenset[str]) -> bool:
    """True when a model has the biases that its architecture leaves open."""
    return any(f"blk.0.{module}.bias" in names for module in architecture.all_biased)


def is_interleaved(architecture: Architecture, name: str) -> bool:
    """True for the tensors whose rows llama.cpp stores in interleaved order."""
    found = _BLOCK.fullmatch(name)
    return architecture.has_interleaved_rope and found is not None and found.group(2) in ("attn_q", "attn_k")


def _may_be_biased(architecture: Architecture, module: str) -> bool:
    return module in architecture.biased or module in architecture.all_biased
