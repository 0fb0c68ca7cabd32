"""Checkpoints of the Hugging Face hub: pinned to a commit, judged by their file list, then fetched.

The list comes through huggingface_hub. The files come through our own `download`, because the library's
(2.4) starts an unfinished file again from zero in the next run, and a checkpoint may have many gigabytes.
"""

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers  # pyright: ignore[reportUnknownVariableType]

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused
from allod.registry.catalog import Catalog, model_name_from
from allod.registry.disk import require_space
from allod.registry.download import Digest, RemoteFile, download
from allod.registry.importing import Origin, check_directory, import_path
from allod.registry.policy import KNOWN_FILES, POOLING_FILE, POOLING_SOURCE, require_names
from allod.registry.progress import Progress, ProgressCallback

_LISTING_SECONDS = 30.0
_ADDRESS = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)
# What the library lets through when an answer is not the JSON that it expects.
_NONSENSE = (ValueError, TypeError, KeyError, AttributeError)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A repository and, if one was named, a revision of it."""

    repository: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> "HubAddress | None":
        """`org/repo` or `org/repo@revision`; None for anything else."""
        found = _ADDRESS.fullmatch(text)
        return cls(found["repository"], found["revision"]) if found else None


@dataclass(frozen=True, slots=True)
class _Listing:
    """One commit of a repository and the files at its top."""

    repository: str
    commit: str
    files: Mapping[str, RemoteFile]


def pull_hub(
    catalog: Catalog,
    address: HubAddress,
    name: str | None,
    on_progress: ProgressCallback,
    endpoint: str | None = None,
) -> ModelCard:
    """Fetch a checkpoint and import it; an interrupted fetch is continued by the next one.

    Args:
        catalog: where it goes.
        address: which repository, at which revision.
        name: its key; None makes one from the repository's name.
        on_progress: told how far it is.
        endpoint: the hub's address; None takes huggingface_hub's own.

    Raises:
        ImportRefused: the checkpoint is not there, not allowed, or not one that comes in.
    """
    key = name if name is not None else model_name_from(address.repository.partition("/")[2])
    catalog.require_free(key)
    on_progress(Progress(f"asking the hub for {address.repository}", 0, None, "bytes"))
    listing = _listing(address, endpoint)
    require_names(listing.files, listing.repository)
    folder = catalog.downloads / "hub" / f"{listing.repository.replace('/', '--')}@{listing.commit}"
    _fetch(listing, [known for known in KNOWN_FILES if known in listing.files], folder, on_progress)
    shards = check_directory(folder, listing.files.keys())
    _fetch(listing, shards, folder, on_progress)
    origin = Origin("hub", f"hub:{listing.repository}@{listing.commit}")
    card = import_path(catalog, folder, key, on_progress, origin)
    shutil.rmtree(folder)
    return card


def _fetch(listing: _Listing, names: Iterable[str], folder: Path, on_progress: ProgressCallback) -> None:
    missing = [listing.files[name] for name in names if not (folder / name).is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, sum(remote.size_bytes - _begun_bytes(folder, remote) for remote in missing))
    for remote in missing:
        download(remote, folder / remote.name, on_progress)


def _begun_bytes(folder: Path, remote: RemoteFile) -> int:
    part = folder / f"{remote.name}.part"
    return part.stat().st_size if part.is_file() else 0


def _listing(address: HubAddress, endpoint: str | None) -> _Listing:
    said = address.repository + (f" at {address.revision}" if address.revision else "")
    try:
        info = HfApi(endpoint=endpoint).model_info(
            address.repository, revision=address.revision, timeout=_LISTING_SECONDS, files_metadata=True
        )
    except (httpx2.HTTPError, OfflineModeIsEnabled, *_NONSENSE) as error:
        raise ImportRefused(_explanation(said, error)) from error
    commit = info.sha or ""
    if not _COMMIT.fullmatch(commit):
        raise ImportRefused(f"the hub names no commit for {said}; try later")
    headers = {key: value for key, value in build_hf_headers().items() if value}
    files: dict[str, RemoteFile] = {}
    for sibling in info.siblings or []:
        name = sibling.rfilename
        if "/" not in name or name == POOLING_SOURCE:
            url = hf_hub_url(address.repository, name, revision=commit, endpoint=endpoint)
            remote = _remote(sibling, url, headers)
            files[remote.name] = remote
    return _Listing(address.repository, commit, files)


def _explanation(said: str, error: Exception) -> str:
    """What a failed question to the hub means, and what to do."""
    if isinstance(error, OfflineModeIsEnabled):
        return f"{said} was not fetched: HF_HUB_OFFLINE forbids it; unset it"
    if isinstance(error, HFValidationError):
        return f"{said} is not a repository of the hub: {error}"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, GatedRepoError) or status == 403:
        return (
            f"the hub does not give you {said}: it is gated or private; "
            f"accept its terms on its page, then log in with `hf auth login`"
        )
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError) or status in (401, 404):
        return (
            f"the hub has no model {said} that you may see; "
            f"check the name, and if it is private or gated log in with `hf auth login`"
        )
    if status is not None:
        return f"the hub answers {status} for {said}; try later"
    return f"the hub cannot be reached or understood ({error}); check the connection"


def _remote(sibling: RepoSibling, url: str, headers: Mapping[str, str]) -> RemoteFile:
    """A file with the size and the hash that the hub gives for it.

    Files in large storage have their sha256; all others the hash that git gives a blob of their length.
    """
    size_bytes = sibling.lfs.size if sibling.lfs is not None else sibling.size
    if sibling.lfs is not None:
        digest = Digest("sha256", sibling.lfs.sha256)
    else:
        digest = Digest("sha1", sibling.blob_id or "", prefix=f"blob {size_bytes}\0".encode())
    if size_bytes is None or size_bytes < 0 or not digest.expected:
        raise ImportRefused(f"the hub gives no size or hash for {sibling.rfilename[:200]!r}; try later")
    name = POOLING_FILE if sibling.rfilename == POOLING_SOURCE else sibling.rfilename
    return RemoteFile(url, name, size_bytes, digest, headers)
