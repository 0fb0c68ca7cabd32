"""Safetensors headers, checked before anybody loads the file.

Layout (huggingface/safetensors, README, `Format`): 8 bytes little-endian header length, that many bytes
of JSON, then the tensors' bytes back to back.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from allod.core.errors import ImportRefused
from allod.registry.jsonfile import child, integer, read_object

INDEX_FILE = "model.safetensors.index.json"
LENGTH_BYTES = 8
METADATA_KEY = "__metadata__"
LARGEST_HEADER_BYTES = 100 * 1000 * 1000

DTYPE_BYTES: Mapping[str, int] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file; `begin` and `end` count bytes from the first byte after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def stored_bytes(self) -> int:
        """Bytes it takes."""
        return self.end - self.begin


def read_tensors(path: Path) -> tuple[StoredTensor, ...]:
    """Every tensor of a safetensors file, in the order of its bytes, after checking every claim.

    Raises:
        ImportRefused: names the file, the tensor and the problem.
    """
    size_bytes = path.stat().st_size
    header, header_bytes = _read_header(path, size_bytes)
    tensors = sorted(
        (_tensor(path, name, value) for name, value in header.items() if name != METADATA_KEY),
        key=lambda tensor: (tensor.begin, tensor.end),
    )
    _check_span(path, tensors, size_bytes - LENGTH_BYTES - header_bytes)
    return tuple(tensors)


def shards_of_index(path: Path) -> tuple[str, ...]:
    """File names an index speaks of, sorted.

    Raises:
        ImportRefused: it is no index, or names a file outside its own folder.
    """
    named = child(read_object(path), "weight_map").values()
    if not named:
        raise ImportRefused(f"{path.name} has no `weight_map`; fetch the checkpoint again")
    shards: set[str] = set()
    for shard in named:
        if not isinstance(shard, str) or not _is_plain_shard(shard):
            raise ImportRefused(
                f"{path.name} names the shard {shard!r}, which is not a plain `*.safetensors` file name; "
                f"do not trust this checkpoint"
            )
        shards.add(shard)
    return tuple(sorted(shards))


def require_shards(index: Path, shards: Iterable[str], present: Iterable[str]) -> None:
    """Refuse when shards of an index are not there.

    Raises:
        ImportRefused: lists the missing ones.
    """
    missing = sorted(set(shards) - set(present))
    if missing:
        raise ImportRefused(
            f"{index.name} names {len(missing)} files that are not there: {', '.join(missing)}; "
            f"fetch them into the same folder"
        )


def _is_plain_shard(name: str) -> bool:
    return name.endswith(".safetensors") and not name.startswith(".") and not set(name) & set("/\\:\0")


def _read_header(path: Path, size_bytes: int) -> tuple[Mapping[str, object], int]:
    with path.open("rb") as file:
        length = file.read(LENGTH_BYTES)
        if len(length) < LENGTH_BYTES:
            raise _lie(path, f"it has {size_bytes} bytes, too few for a header length")
        header_bytes = int.from_bytes(length, "little")
        if header_bytes > min(LARGEST_HEADER_BYTES, size_bytes - LENGTH_BYTES):
            raise _lie(path, f"its header claims {header_bytes} bytes, the file has {size_bytes}")
        text = file.read(header_bytes)
    try:
        header: object = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise _lie(path, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _lie(path, "its header is not a JSON object")
    return cast("dict[str, object]", header), header_bytes


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _tensor(path: Path, name: str, value: object) -> StoredTensor:
    if not isinstance(value, dict):
        raise _lie(path, "its entry is not an object", name)
    entry = cast("dict[str, object]", value)
    dtype, shape, offsets = entry.get("dtype"), _whole(entry.get("shape")), _whole(entry.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _lie(path, f"its dtype {dtype!r} is not one of {', '.join(DTYPE_BYTES)}", name)
    if shape is None:
        raise _lie(path, "its shape is not a list of whole numbers from 0 up", name)
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _lie(path, "its data_offsets are not a pair of rising whole numbers", name)
    begin, end = offsets
    needed_bytes = math.prod(shape) * DTYPE_BYTES[dtype]
    if needed_bytes != end - begin:
        raise _lie(
            path, f"shape {list(shape)} of {dtype} needs {needed_bytes} bytes, it has {end - begin}", name
        )
    return StoredTensor(name, dtype, shape, begin, end)


def _whole(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    numbers = tuple(integer(item) for item in cast("list[object]", value))
    return None if any(item is None or item < 0 for item in numbers) else cast("tuple[int, ...]", numbers)


def _check_span(path: Path, tensors: list[StoredTensor], data_bytes: int) -> None:
    position = 0
    for tensor in tensors:
        if tensor.begin != position:
            raise _lie(
                path, f"it starts at byte {tensor.begin}, the tensor before ends at {position}", tensor.name
            )
        position = tensor.end
    if position != data_bytes:
        raise _lie(path, f"its tensors take {position} bytes, the file holds {data_bytes} after the header")


def _lie(path: Path, problem: str, tensor: str | None = None) -> ImportRefused:
    where = f"{path.name}, tensor {tensor[:200]!r}" if tensor is not None else path.name
    return ImportRefused(f"{where}: {problem}; the file is damaged or incomplete, fetch it again")
