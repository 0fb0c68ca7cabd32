"""From a folder of checked files to an encoder in memory, and from token rows to unit vectors."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import mlx.core as mx
import numpy as np

from allod.core.ids import TokenId
from allod.core.step import MemoryReading, ModelFacts
from allod.device.base import Platform
from allod.runner.bert import Bert, BertShape
from allod.runner.load import CannotLoad, refuse_code

_FAMILY = "bert"
_ACTIVATIONS = ("gelu", "gelu_python")
_PREFIX = "bert."
_POOLING_FILE = "pooling.json"
_MEAN, _FIRST = "pooling_mode_mean_tokens", "pooling_mode_cls_token"
_BUFFER_BYTES = 256 * 2**20
"""MLX may keep so many freed bytes; what an encoder would keep beyond is better left to other models."""


class MlxEncoder:
    """An `Encoder` over MLX. It computes in float32: encoders are small, and vectors are compared closely.

    Args:
        bert: the model.
        facts: what is known of it.
        pools_mean: True takes the mean of a row's states, False the state of its first token.
    """

    def __init__(self, bert: Bert, facts: ModelFacts, *, pools_mean: bool) -> None:
        self._bert = bert
        self._facts = facts
        self._pools_mean = pools_mean

    @property
    def facts(self) -> ModelFacts:
        """What the model needs and can do."""
        return self._facts

    def embed(self, rows: Sequence[Sequence[TokenId]]) -> list[bytes]:
        """One unit vector per row, as little-endian float32. Rows of like length waste least."""
        length = max(map(len, rows))
        ids = mx.array([[*row, *(0,) * (length - len(row))] for row in rows], mx.int32)
        mask = mx.array([[1.0] * len(row) + [0.0] * (length - len(row)) for row in rows], mx.float32)
        vectors = np.asarray(self._pooled(self._bert(ids, mask), mask)).astype("<f4")
        return [vector.tobytes() for vector in vectors]

    def memory(self) -> MemoryReading:
        """The allocator's counters now."""
        return MemoryReading(mx.get_active_memory(), mx.get_cache_memory(), mx.get_peak_memory())

    def _pooled(self, states: mx.array, mask: mx.array) -> mx.array:
        if self._pools_mean:
            pooled = mx.sum(states * mask[:, :, None], axis=1) / mx.sum(mask, axis=1, keepdims=True)
        else:
            pooled = states[:, 0]
        lengths = mx.sum(pooled * pooled, axis=1, keepdims=True)
        pooled = pooled * mx.rsqrt(mx.maximum(lengths, 1e-24))
        mx.eval(pooled)
        return pooled


def load_encoder(folder: Path, platform: Platform, budget_bytes: int, context_tokens: int) -> MlxEncoder:
    """Load a catalogue folder whose model embeds.

    Raises:
        CannotLoad: it is of a family that is not served, does not fit, or is damaged.
    """
    mx.set_cache_limit(min(_BUFFER_BYTES, budget_bytes))
    refuse_code(folder)
    config = _read(folder / "config.json")
    shape = _shape(config)
    tensors = _tensors(folder, budget_bytes)
    try:
        bert = Bert(tensors, shape)
    except KeyError as error:
        raise CannotLoad(f"the checkpoint has no tensor {error}; it is not a whole BERT encoder") from error
    mx.eval(bert.parameters())
    pools_mean = _pools_mean(folder)
    facts = ModelFacts(
        weights_bytes=mx.get_active_memory(),
        budget_bytes=budget_bytes,
        layers=(),
        capacity_step_tokens=1,
        transient_bytes_per_token=0,
        transient_bytes_per_token_and_context=0,
        context_tokens=min(shape.positions, context_tokens),
        vocabulary=shape.vocabulary,
        batchable=True,
        alone_because="",
        compute="dense float32",
        device=platform.description,
    )
    return MlxEncoder(bert, facts, pools_mean=pools_mean)


def _tensors(folder: Path, budget_bytes: int) -> Mapping[str, mx.array]:
    tensors: dict[str, mx.array] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors |= mx.load(str(path))
    found = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    needed_bytes = sum(tensor.nbytes // tensor.dtype.size * 4 for tensor in found.values())
    if needed_bytes > budget_bytes:
        raise CannotLoad(
            f"the model needs {needed_bytes / 2**30:.2f} GiB and this worker's budget is "
            f"{budget_bytes / 2**30:.2f} GiB (device.memory_budget_bytes)"
        )
    return {name: tensor.astype(mx.float32) for name, tensor in found.items()}


def _shape(config: Mapping[str, object]) -> BertShape:
    family, activation = config.get("model_type"), config.get("hidden_act", _ACTIVATIONS[0])
    if family != _FAMILY:
        raise CannotLoad(f"embedding models of the family {family!r} are not served; take one of `{_FAMILY}`")
    if activation not in _ACTIVATIONS:
        raise CannotLoad(f"its activation {activation!r} is not served; take a model with `gelu`")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise CannotLoad("its positions are not absolute ones, which is not served; take another model")
    epsilon = config.get("layer_norm_eps", 1e-12)
    shape = BertShape(
        layers=_number(config, "num_hidden_layers"),
        heads=_number(config, "num_attention_heads"),
        hidden=_number(config, "hidden_size"),
        norm_epsilon=epsilon if isinstance(epsilon, float) else 1e-12,
        positions=_number(config, "max_position_embeddings"),
        vocabulary=_number(config, "vocab_size"),
    )
    if shape.hidden % shape.heads:
        raise CannotLoad(
            f"its {shape.hidden} channels do not divide into {shape.heads} heads; fetch it again"
        )
    return shape


def _number(config: Mapping[str, object], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value < 1:
        raise CannotLoad(f"config.json: {name} is {value!r}, not a number from 1 up; fetch the model again")
    return value


def _pools_mean(folder: Path) -> bool:
    """How sentence-transformers says to make one vector of a row; without a word, the mean.

    Raises:
        CannotLoad: it wants another form than the mean or the first token.
    """
    path = folder / _POOLING_FILE
    said = _read(path) if path.is_file() else {_MEAN: True}
    modes = {name for name, on in said.items() if name.startswith("pooling_mode_") and on is True}
    if modes == {_MEAN}:
        return True
    if modes == {_FIRST}:
        return False
    raise CannotLoad(f"its pooling ({', '.join(sorted(modes)) or 'none'}) is not served; take another model")


def _read(path: Path) -> Mapping[str, object]:
    try:
        value: object = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CannotLoad(f"{path.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CannotLoad(f"{path.name} is not a JSON object; fetch the model again")
    return cast("dict[str, object]", value)
