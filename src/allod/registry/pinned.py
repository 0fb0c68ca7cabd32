"""A package of which one file is trusted, and where the owner's own pip finds it.

No address is named here: pip says where the package is, and the pinned hash says that it is the right one.
"""

import subprocess
import sys
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from allod.core.errors import ImportRefused
from allod.registry.catalog import Catalog
from allod.registry.download import Digest, RemoteFile, download
from allod.registry.progress import Progress, ProgressCallback

_PIP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Pinned:
    """One wheel of one version of a package."""

    name: str
    version: str
    size_bytes: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@contextmanager
def fetched(
    package: Pinned,
    catalog: Catalog,
    on_progress: ProgressCallback,
    locate: Callable[[], RemoteFile] | None = None,
) -> Generator[Path]:
    """The wheel, for the length of a `with` block.

    Args:
        package: which one.
        catalog: keeps what is half fetched.
        on_progress: told how far it is.
        locate: says where the package is; None asks pip.

    Raises:
        ImportRefused: it cannot be found, fetched or read as a wheel.
    """
    on_progress(Progress("asking pip where the package is", 0, None, "bytes"))
    remote = locate() if locate else ask_pip(package)
    wheel = catalog.downloads / f"{package.name}-{package.version}.whl"
    download(remote, wheel, on_progress)
    try:
        yield wheel
    except zipfile.BadZipFile as error:
        raise ImportRefused(f"{package} is not a readable package ({error}); try again") from error
    finally:
        wheel.unlink(missing_ok=True)


class _ArchiveInfo(msgspec.Struct):
    hashes: dict[str, str] = {}


class _DownloadInfo(msgspec.Struct):
    url: str
    archive_info: _ArchiveInfo


class _Installation(msgspec.Struct):
    download_info: _DownloadInfo


class _Report(msgspec.Struct):
    install: list[_Installation]


def ask_pip(package: Pinned) -> RemoteFile:
    """Where the owner's pip would take the package from.

    Raises:
        ImportRefused: pip does not find it, or finds another file under its name.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
    command += ["--quiet", "--report", "-", f"{package.name}=={package.version}"]
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
            f"pip did not find {package.name} within {_PIP_SECONDS:.0f} seconds; check the connection"
        ) from error
    if finished.returncode != 0:
        said = finished.stderr.strip().splitlines()[-1:] or ["it gives no reason"]
        raise ImportRefused(
            f"pip does not find {package.name}=={package.version}: {said[0][:300]}; "
            "check the connection and pip's index"
        )
    return remote_from_report(finished.stdout, package)


def remote_from_report(report: str, package: Pinned) -> RemoteFile:
    """The wheel that an installation report of pip speaks of.

    Raises:
        ImportRefused: it is no report, or speaks of another file than the pinned one.
    """
    try:
        (installation,) = msgspec.json.decode(report, type=_Report).install
    except (msgspec.MsgspecError, ValueError) as error:
        raise ImportRefused(
            f"pip's report about {package.name} is not understood ({error}); update pip"
        ) from error
    found = installation.download_info
    if found.archive_info.hashes.get("sha256") != package.sha256:
        raise ImportRefused(
            f"pip's index has another file than the known {package} (its sha256 differs); "
            f"do not trust it, or point pip at another index"
        )
    return RemoteFile(found.url, str(package), package.size_bytes, Digest("sha256", package.sha256))
