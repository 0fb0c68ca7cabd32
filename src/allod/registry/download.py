"""Fetch one file over HTTP: resumed where it broke off, and never believed before its hash fits."""

import fcntl
import hashlib
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import httpx2

from allod.core.errors import ImportRefused
from allod.registry.disk import explaining_full_disk, require_space
from allod.registry.progress import Progress, ProgressCallback

_CHUNK_BYTES = 1024 * 1024
_MOST_RETRIES = 3
_TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Digest:
    """A hash that a file has to have.

    Attributes:
        algorithm: a name that hashlib knows.
        expected: in hexadecimal.
        prefix: hashed before the file's bytes; git puts the kind and the length of a blob there.
    """

    algorithm: str
    expected: str
    prefix: bytes = b""

    def fits(self, path: Path) -> bool:
        """True when a file has this hash."""
        found = hashlib.new(self.algorithm, self.prefix, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                found.update(chunk)
        return found.hexdigest() == self.expected.lower()


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file somewhere else.

    Attributes:
        url: `http`, `https` or `file`.
        name: what to call it in messages.
        size_bytes: the size it has to have.
        digest: the hash it has to have.
        headers: sent with the request; the library drops authorization when it is sent to another host.
    """

    url: str
    name: str
    size_bytes: int
    digest: Digest
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class _Broken(Exception):
    """The connection or the server failed in a way that may pass."""


def download(
    remote: RemoteFile,
    target: Path,
    on_progress: ProgressCallback,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch a file to `target`, continuing what an earlier call left beside it as `.part`.

    A broken connection is tried again, at most three times in a row that bring nothing new.

    Raises:
        ImportRefused: says what went wrong and what to do. Bytes of the right file are kept for the next
            try; bytes of a wrong one are deleted.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with explaining_full_disk(target.parent, remote.size_bytes), _claimed(part, remote) as file:
        if file.tell() > remote.size_bytes:
            _empty(file)
        require_space(target.parent, remote.size_bytes - file.tell())
        if urlsplit(remote.url).scheme == "file":
            _copy_local(remote, file, on_progress)
        else:
            _fetch_persistently(remote, file, on_progress, pause)
        file.flush()
        on_progress(Progress(f"checking {remote.name}", remote.size_bytes, remote.size_bytes, "bytes"))
        if file.tell() != remote.size_bytes or not remote.digest.fits(part):
            part.unlink()
            raise ImportRefused(
                f"{remote.name} is not the file that was asked for: its size or "
                f"its {remote.digest.algorithm} differs, so it was deleted; "
                f"try again, and if it stays so do not trust the source"
            )
        part.rename(target)


@contextmanager
def _claimed(part: Path, remote: RemoteFile) -> Generator[BinaryIO]:
    """The unfinished file, opened at its end and locked against other processes."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ImportRefused(f"another process is fetching {remote.name} now; wait for it") from error
        yield file


def _copy_local(remote: RemoteFile, file: BinaryIO, on_progress: ProgressCallback) -> None:
    source = Path(unquote(urlsplit(remote.url).path))
    if not source.is_file():
        raise ImportRefused(f"{source}, from which {remote.name} is to be copied, is not a file")
    _empty(file)
    with source.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            _append(remote, file, chunk, on_progress)


def _fetch_persistently(
    remote: RemoteFile, file: BinaryIO, on_progress: ProgressCallback, pause: Callable[[float], None]
) -> None:
    retries = 0
    with httpx2.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
        while file.tell() < remote.size_bytes:
            before = file.tell()
            try:
                _fetch_rest(client, remote, file, on_progress)
            except (_Broken, httpx2.RequestError) as error:
                retries = 0 if file.tell() > before else retries + 1
                if retries > _MOST_RETRIES:
                    raise ImportRefused(
                        f"fetching {remote.name} failed after {file.tell()} of {remote.size_bytes} bytes "
                        f"({error}); check the connection and try again: what is here will be continued"
                    ) from error
                pause(0.5 * 2**retries)


def _fetch_rest(
    client: httpx2.Client, remote: RemoteFile, file: BinaryIO, on_progress: ProgressCallback
) -> None:
    """Ask for the bytes that are missing, and take what comes.

    Raises:
        _Broken: it ended too early, or the server says to come back.
        ImportRefused: trying again will not help.
    """
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if file.tell():
        headers["Range"] = f"bytes={file.tell()}-"
    with client.stream("GET", remote.url, headers=headers) as response:
        _settle_status(response, remote, file)
        for chunk in response.iter_raw():  # as it comes: gathered chunks are lost with the connection
            _append(remote, file, chunk, on_progress)
    if file.tell() < remote.size_bytes:
        raise _Broken("the answer ended early")


def _settle_status(response: httpx2.Response, remote: RemoteFile, file: BinaryIO) -> None:
    """Go back to the start of the file when the server does not continue at its end."""
    status = response.status_code
    if status in _TEMPORARY:
        raise _Broken(f"the server answers {status}")
    if status == 416 and file.tell():
        _empty(file)
        raise _Broken("the server cannot continue the file")
    if status not in (200, 206):
        raise ImportRefused(f"the server answers {status} for {remote.name}; {_way_out(status)}")
    if response.headers.get("content-type", "").startswith("text/html"):
        raise ImportRefused(
            f"a web page came instead of {remote.name}; "
            f"log in to the network or set the proxy, then try again"
        )
    if status == 206:
        begin = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
        if begin == str(file.tell()):
            return
        _empty(file)
        raise _Broken("the server continues at another place")
    _empty(file)


def _way_out(status: int) -> str:
    if status in (401, 403):
        return "it may be gated: ask for access on the model's page, then log in with `hf auth login`"
    return "check the name, or whether it has been removed"


def _append(remote: RemoteFile, file: BinaryIO, chunk: bytes, on_progress: ProgressCallback) -> None:
    """Add bytes at the end, but never more than the file may have."""
    if file.tell() + len(chunk) > remote.size_bytes:
        _empty(file)
        raise ImportRefused(
            f"{remote.name} is longer than the {remote.size_bytes} bytes it should have, so it was deleted; "
            f"do not trust this source"
        )
    file.write(chunk)
    on_progress(Progress(f"downloading {remote.name}", file.tell(), remote.size_bytes, "bytes"))


def _empty(file: BinaryIO) -> None:
    """Start the file again; truncating alone would leave its position where it was."""
    file.seek(0)
    file.truncate()
