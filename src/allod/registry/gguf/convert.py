"""A GGUF file into a folder that MLX loads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from mmap import mmap
from pathlib import Path

import numpy as np

from allod.core.errors import ImportRefused
from allod.registry.disk import require_space
from allod.registry.gguf.config import Heads, config_of, read_heads
from allod.registry.gguf.header import Header, StoredMatrix, opened, read_header
from allod.registry.gguf.names import (
    OUTPUT,
    ROPE_FACTORS,
    Architecture,
    architecture_named,
    has_bias,
    is_interleaved,
    mapped_name,
    needed_names,
)
from allod.registry.gguf.rope import half_split_rows, llama3_scaling
from allod.registry.gguf.tensors import PLAIN, QUANTISED, Bytes, packed_shapes, repack
from allod.registry.gguf.vocabulary import write_tokenizer
from allod.registry.jsonfile import write_object
from allod.registry.policy import CONFIG_FILE
from allod.registry.progress import Progress, ProgressCallback
from allod.registry.shards import Batch, Planned, write_shards

_MOST_LAYERS = 4096


def convert(source: Path, folder: Path, on_progress: ProgressCallback) -> None:
    """Write config, tokenizer and weights of a GGUF file into a folder.

    Raises:
        ImportRefused: the file is damaged, or holds something that cannot be taken over exactly.
    """
    on_progress(Progress("checking", 0, None, "tensors"))
    header = read_header(source)
    metadata = header.metadata
    if metadata.integer_or("split.count", 1) > 1:
        raise ImportRefused(
            f"{source.name} is one part of a split model; join the parts first: "
            f"llama-gguf-split --merge FIRST_PART WHOLE.gguf"
        )
    architecture = architecture_named(metadata.text("general.architecture"))
    tensors = _checked_tensors(header, architecture, source.name)
    require_space(folder, sum(tensor.stored_bytes for tensor in tensors.values()))
    with opened(source) as view:
        scaling = _stored_scaling(view, header, architecture)
        write_object(folder / CONFIG_FILE, config_of(metadata, architecture, tensors, scaling))
        write_tokenizer(metadata, folder)
        heads = read_heads(metadata, architecture)
        write_shards(
            folder, [_batch(view, each, architecture, heads) for each in tensors.values()], on_progress
        )


def _checked_tensors(
    header: Header, architecture: Architecture, file_name: str
) -> Mapping[str, StoredMatrix]:
    """The tensors of the model by name, all of which have a place in it, and which leave no place empty."""
    tensors = {tensor.name: tensor for tensor in header.tensors if tensor.name != ROPE_FACTORS}
    _require_types(list(tensors.values()), file_name)
    layers = header.metadata.positive(f"{architecture.name}.block_count")
    if layers > _MOST_LAYERS:
        raise header.metadata.refusal(
            f"{architecture.name}.block_count", f"is {layers}, more than {_MOST_LAYERS}"
        )
    names = frozenset(tensors)
    needed = needed_names(architecture, layers, with_bias=has_bias(architecture, names))
    strange = sorted(names - needed - {OUTPUT})
    if strange:
        raise ImportRefused(
            f"{file_name} has {len(strange)} tensors that a {architecture.name} model with {layers} layers "
            f"has no place for, such as {strange[0][:100]!r}; "
            f"import the model's safetensors checkpoint instead"
        )
    missing = sorted(needed - names)
    if missing:
        raise ImportRefused(
            f"{file_name} lacks {len(missing)} tensors of a {architecture.name} model with {layers} layers, "
            f"such as {missing[0]!r}; convert the model again with a current llama.cpp"
        )
    return tensors


def _require_types(tensors: Sequence[StoredMatrix], file_name: str) -> None:
    refused = Counter(
        tensor.type for tensor in tensors if tensor.type not in QUANTISED and tensor.type not in PLAIN
    )
    if refused:
        listed = ", ".join(f"{kind} ({count} tensors)" for kind, count in refused.most_common())
        raise ImportRefused(
            f"{file_name} stores tensors as {listed}, which MLX cannot hold without rounding them again; "
            f"taken are {', '.join([*QUANTISED, *PLAIN])}; choose a file of one of those types, "
            f"or the safetensors checkpoint"
        )
    for tensor in tensors:
        if tensor.type in QUANTISED and len(tensor.shape) != 2:
            raise ImportRefused(f"{file_name}: tensor {tensor.name!r} is {tensor.type}, but no matrix")


def _stored_scaling(view: mmap, header: Header, architecture: Architecture) -> Mapping[str, object] | None:
    stored = next((tensor for tensor in header.tensors if tensor.name == ROPE_FACTORS), None)
    if stored is None:
        return None
    base = header.metadata.number_or(f"{architecture.name}.rope.freq_base", 10_000.0)
    factors = np.frombuffer(_bytes_of(view, stored).tobytes(), "<f4") if stored.type == "F32" else None
    scaling = llama3_scaling(factors, base) if factors is not None else None
    if scaling is None:
        raise ImportRefused(
            f"the stored rope factors ({ROPE_FACTORS}) do not follow the rule of Llama 3, "
            f"the only one that is known; import the model's safetensors checkpoint instead"
        )
    return scaling


def _bytes_of(view: mmap, tensor: StoredMatrix) -> Bytes:
    """A copy of the tensor's bytes: an array over the map itself would keep the file open."""
    return np.frombuffer(view[tensor.begin : tensor.begin + tensor.stored_bytes], np.uint8)


def _batch(view: mmap, tensor: StoredMatrix, architecture: Architecture, heads: Heads) -> Batch:
    target = mapped_name(architecture, tensor.name) or tensor.name
    rows_of_heads = 0
    if is_interleaved(architecture, tensor.name):
        rows_of_heads = heads.query if "attn_q" in tensor.name else heads.key_value
        if tensor.shape[0] != rows_of_heads * heads.size:
            raise ImportRefused(
                f"tensor {tensor.name!r} has {tensor.shape[0]} rows, {rows_of_heads} heads of {heads.size} "
                f"need {rows_of_heads * heads.size}; the file is damaged"
            )

    def ordered(rows: Bytes) -> Bytes:
        return half_split_rows(rows, rows_of_heads) if rows_of_heads else rows

    if tensor.type in PLAIN:
        return Batch(
            (Planned(target, PLAIN[tensor.type], tensor.shape),),
            lambda: (ordered(_bytes_of(view, tensor).reshape(tensor.shape[0], -1)),),
        )

    def produce() -> Sequence[Bytes]:
        packed = repack(_bytes_of(view, tensor), tensor.type, tensor.shape, tensor.name)
        return ordered(packed.weight), ordered(packed.scales), ordered(packed.biases)

    module = target.removesuffix(".weight")
    words, groups = packed_shapes(tensor.type, tensor.shape)
    return Batch(
        (
            Planned(f"{module}.weight", "U32", words),
            Planned(f"{module}.scales", "F16", groups),
            Planned(f"{module}.biases", "F16", groups),
        ),
        produce,
    )
