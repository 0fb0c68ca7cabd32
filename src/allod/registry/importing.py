"""Take a checkpoint from this machine's disk into the catalogue: whole, or not at all."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused
from allod.core.sampling import SamplingWishes
from allod.registry.card import Kind, describe
from allod.registry.catalog import Catalog, model_name_from
from allod.registry.copying import copy_small, link_or_copy
from allod.registry.disk import explaining_full_disk
from allod.registry.gguf.convert import convert
from allod.registry.jsonfile import read_object
from allod.registry.policy import (
    CONFIG_FILE,
    KNOWN_FILES,
    POOLING_FILE,
    POOLING_SOURCE,
    loadable_weights,
    require_codeless,
    require_model_type,
    require_names,
)
from allod.registry.progress import ProgressCallback
from allod.registry.weights import INDEX_FILE, read_tensors, require_shards, shards_of_index


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a checkpoint came from.

    Attributes:
        kind: how it arrived.
        source: words a person can act on.
        sampling: what its publisher advises, where the files themselves do not say.
    """

    kind: Kind
    source: str
    sampling: SamplingWishes = field(default_factory=SamplingWishes)


def import_path(
    catalog: Catalog,
    source: Path,
    name: str | None,
    on_progress: ProgressCallback,
    origin: Origin | None = None,
) -> ModelCard:
    """Import a directory of safetensors or a `.gguf` file.

    Args:
        catalog: where the model goes.
        source: the directory or file.
        name: the key it gets; None makes one from the source's name.
        on_progress: told how far it is.
        origin: what the card says about where it came from; None says the path.

    Raises:
        ImportRefused: says why, and the way out. Nothing is left behind then, nor after any other error.
    """
    is_gguf = source.suffix.lower() == ".gguf" and source.is_file()
    if not is_gguf and not source.is_dir():
        problem = "is neither a directory nor a `.gguf` file" if source.exists() else "is not there"
        raise ImportRefused(f"{source} {problem}; give the folder of a checkpoint or the path of a GGUF file")
    key = name if name is not None else model_name_from(source.stem if is_gguf else source.resolve().name)
    catalog.require_free(key)
    said = origin or Origin("gguf" if is_gguf else "directory", str(source.resolve()))
    size_bytes = _size_bytes(source)
    with catalog.staging() as staged, explaining_full_disk(catalog.root, size_bytes):
        if is_gguf:
            convert(source, staged, on_progress)
        else:
            _take_directory(source, staged, on_progress)
        card = describe(staged, key, said.kind, said.source)
        card = replace(card, sampling=card.sampling.over(said.sampling))
        catalog.adopt(staged, card)
    return card


def check_directory(source: Path, names: Collection[str]) -> tuple[str, ...]:
    """Check all of a checkpoint but its weights' content.

    Args:
        source: the folder with at least its small files.
        names: every file name of the checkpoint, those included that are not here yet.

    Returns:
        The names of its weight files.

    Raises:
        ImportRefused: the checkpoint is not one that comes in.
    """
    config = read_object(source / CONFIG_FILE)
    require_model_type(config, source.name)
    require_codeless(config, source.name)
    index = source / INDEX_FILE
    if index.is_file():
        shards = shards_of_index(index)
        if set(loadable_weights(shards, source.name)) == set(shards):
            require_shards(index, shards, names)
            return shards
        raise ImportRefused(f"{INDEX_FILE} of {source.name} names files that are not `model*.safetensors`")
    return loadable_weights(names, source.name)


def _take_directory(source: Path, staged: Path, on_progress: ProgressCallback) -> None:
    names = _names(source)
    require_names(names, source.name)
    weights = [source / shard for shard in check_directory(source, names)]
    for path in weights:
        read_tensors(path)
    copy_small([source / known for known in KNOWN_FILES if known in names], staged)
    if (source / POOLING_SOURCE).is_file():
        (staged / POOLING_FILE).write_bytes((source / POOLING_SOURCE).read_bytes())
    link_or_copy(weights, staged, on_progress)


def _names(source: Path) -> frozenset[str]:
    """Names of the regular files in a directory; a link counts if what it points at is one."""
    return frozenset(entry.name for entry in source.iterdir() if entry.is_file())


def _size_bytes(source: Path) -> int:
    if source.is_file():
        return source.stat().st_size
    return sum(entry.stat().st_size for entry in source.iterdir() if entry.is_file())
