"""Write tensors as safetensors shards with an index, holding one tensor in memory at a time."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allod.registry.jsonfile import write_object
from allod.registry.progress import Progress, ProgressCallback
from allod.registry.weights import DTYPE_BYTES, INDEX_FILE, LENGTH_BYTES, METADATA_KEY, read_tensors

LARGEST_SHARD_BYTES = 4 * 1024**3
_ALIGNMENT_BYTES = 8

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Planned:
    """One tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes it takes."""
        count = DTYPE_BYTES[self.dtype]
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors that are made together, such as the three parts of one quantised matrix.

    Attributes:
        tensors: what is to be written.
        produce: makes the content, one array per tensor and in its order.
    """

    tensors: tuple[Planned, ...]
    produce: Callable[[], Sequence[Bytes]]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(tensor.stored_bytes for tensor in self.tensors)


def write_shards(
    folder: Path,
    batches: Sequence[Batch],
    on_progress: ProgressCallback,
    shard_bytes: int = LARGEST_SHARD_BYTES,
    stage: str = "converting",
) -> None:
    """Write `model.safetensors`, or numbered shards and their index; every file is read back and checked.

    Args:
        folder: where they go.
        batches: what is written, in this order.
        on_progress: told after each batch.
        shard_bytes: most bytes of a file, unless one batch alone has more.
        stage: what is going on, in words.
    """
    groups = list(_grouped(batches, shard_bytes))
    total = sum(len(batch.tensors) for batch in batches)
    weight_map: dict[str, object] = {}
    done = 0
    for number, group in enumerate(groups, start=1):
        name = (
            f"model-{number:05d}-of-{len(groups):05d}.safetensors" if len(groups) > 1 else "model.safetensors"
        )
        with (folder / name).open("wb") as file:
            file.write(_header([tensor for batch in group for tensor in batch.tensors]))
            for batch in group:
                for tensor, content in zip(batch.tensors, batch.produce(), strict=True):
                    if content.nbytes != tensor.stored_bytes:
                        raise ValueError(
                            f"{tensor.name}: {content.nbytes} bytes made, {tensor.stored_bytes} planned"
                        )
                    file.write(content.data)
                    weight_map[tensor.name] = name
                done += len(batch.tensors)
                on_progress(Progress(stage, done, total, "tensors"))
        read_tensors(folder / name)
    if len(groups) > 1:
        size = sum(batch.stored_bytes for batch in batches)
        write_object(folder / INDEX_FILE, {"metadata": {"total_size": size}, "weight_map": weight_map})


def _grouped(batches: Sequence[Batch], shard_bytes: int) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    size = 0
    for batch in batches:
        if group and size + batch.stored_bytes > shard_bytes:
            yield group
            group, size = [], 0
        group.append(batch)
        size += batch.stored_bytes
    yield group


def _header(tensors: Sequence[Planned]) -> bytes:
    entries: dict[str, object] = {METADATA_KEY: {"format": "mlx"}}
    position = 0
    for tensor in tensors:
        end = position + tensor.stored_bytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (position, end)}
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
