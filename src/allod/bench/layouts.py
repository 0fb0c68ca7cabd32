"""Which tensors a model of a family has, as mlx-lm names them: enough to make one without MLX."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from allod.core.errors import ConfigurationError
from allod.registry.jsonfile import integer


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight matrix (rows, columns), or (experts, rows, columns); quantised along its columns.

    Attributes:
        speaks: its rows score token ids.
    """

    name: str
    shape: tuple[int, ...]
    speaks: bool = False


@dataclass(frozen=True, slots=True)
class Vector:
    """A norm's weight or a bias, filled with one value."""

    name: str
    length: int
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between families of decoders.

    Attributes:
        norms: of each layer, over the hidden size.
        norm_value: what leaves a norm's input as it is: 1, or 0 where the family adds one to the weight.
        has_head_norms: queries and keys are normed too.
        has_attention_bias: queries, keys and values have a bias, whatever the config says.
        always_tied: there is no head of its own.
    """

    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    norm_value: float = 1.0
    has_head_norms: bool = False
    has_attention_bias: bool = False
    always_tied: bool = False


_GEMMA_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)

FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(has_attention_bias=True),
    "qwen3": Family(has_head_norms=True),
    "qwen3_moe": Family(has_head_norms=True),
    "gemma2": Family(norms=_GEMMA_NORMS, norm_value=0.0, always_tied=True),
    "gemma3_text": Family(norms=_GEMMA_NORMS, norm_value=0.0, has_head_norms=True, always_tied=True),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors of one model, in the order of its layers."""

    config: Mapping[str, object]
    family: Family = field(init=False)

    def __post_init__(self) -> None:
        """Find the family.

        Raises:
            ConfigurationError: there is no such one here.
        """
        name = self.config.get("model_type")
        found = FAMILIES.get(name) if isinstance(name, str) else None
        if found is None:
            raise ConfigurationError(
                f"model_type {name!r} is not one that can be made here; known: {', '.join(FAMILIES)}"
            )
        object.__setattr__(self, "family", found)

    def size(self, name: str) -> int:
        """A whole number of the config.

        Raises:
            ConfigurationError: it is missing.
        """
        value = integer(self.config.get(name))
        if value is None or value < 1:
            raise ConfigurationError(f"{name}: the config has no such size; add it")
        return value

    def tensors(self) -> Iterator[Matrix | Vector]:
        """All of them."""
        hidden, vocabulary = self.size("hidden_size"), self.size("vocab_size")
        is_tied = self.family.always_tied or bool(self.config.get("tie_word_embeddings", True))
        yield Matrix("model.embed_tokens", (vocabulary, hidden), speaks=is_tied)
        for layer in range(self.size("num_hidden_layers")):
            prefix = f"model.layers.{layer}"
            yield from self._attention(f"{prefix}.self_attn")
            yield from self._feedforward(f"{prefix}.mlp", layer)
            for norm in self.family.norms:
                yield Vector(f"{prefix}.{norm}.weight", hidden, self.family.norm_value)
        yield Vector("model.norm.weight", hidden, self.family.norm_value)
        if not is_tied:
            yield Matrix("lm_head", (vocabulary, hidden), speaks=True)

    def _attention(self, prefix: str) -> Iterator[Matrix | Vector]:
        hidden, heads = self.size("hidden_size"), self.size("num_attention_heads")
        head = integer(self.config.get("head_dim")) or hidden // heads
        shared = integer(self.config.get("num_key_value_heads")) or heads
        outputs = {"q_proj": heads * head, "k_proj": shared * head, "v_proj": shared * head}
        has_bias = self.family.has_attention_bias or bool(self.config.get("attention_bias"))
        for name, rows in outputs.items():
            yield Matrix(f"{prefix}.{name}", (rows, hidden))
            if has_bias:
                yield Vector(f"{prefix}.{name}.bias", rows, 0.0)
        yield Matrix(f"{prefix}.o_proj", (hidden, heads * head))
        if has_bias and not self.family.has_attention_bias:
            yield Vector(f"{prefix}.o_proj.bias", hidden, 0.0)
        if self.family.has_head_norms:
            yield Vector(f"{prefix}.q_norm.weight", head, self.family.norm_value)
            yield Vector(f"{prefix}.k_norm.weight", head, self.family.norm_value)

    def _feedforward(self, prefix: str, layer: int) -> Iterator[Matrix]:
        hidden = self.size("hidden_size")
        experts = self._experts(layer)
        if not experts:
            yield from _gated(prefix, (), hidden, self.size("intermediate_size"))
            return
        yield Matrix(f"{prefix}.gate", (experts, hidden))
        yield from _gated(f"{prefix}.switch_mlp", (experts,), hidden, self.size("moe_intermediate_size"))

    def _experts(self, layer: int) -> int:
        """How many experts a layer has; 0 for a dense one. The rule is that of mlx-lm's qwen3_moe."""
        experts = integer(self.config.get("num_experts")) or 0
        dense = self.config.get("mlp_only_layers")
        is_dense = isinstance(dense, list) and layer in dense
        step = integer(self.config.get("decoder_sparse_step")) or 1
        return experts if not is_dense and (layer + 1) % step == 0 else 0


def _gated(prefix: str, experts: tuple[int, ...], hidden: int, inner: int) -> Iterator[Matrix]:
    yield Matrix(f"{prefix}.gate_proj", (*experts, inner, hidden))
    yield Matrix(f"{prefix}.up_proj", (*experts, inner, hidden))
    yield Matrix(f"{prefix}.down_proj", (*experts, hidden, inner))
