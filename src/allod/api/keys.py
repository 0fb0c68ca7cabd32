"""API keys: a file of hashes.

A secret carries 256 random bits, so nobody can guess it from its hash, however fast the hash is: a
plain SHA-256 is right, and a slow password hash would only slow down every request.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from allod.core.errors import ConfigurationError, NotFound
from allod.core.ids import TenantId

SECRET_PREFIX = "allod-"
_SECRET_BYTES = 32
_VERSION = 1
_Stamp = tuple[int, int, int]


class KeyRecord(msgspec.Struct, frozen=True):
    """One key, as much of it as is kept: never the secret itself.

    Attributes:
        id: names the key in commands, logs and fairness.
        label: the owner's words for whose it is.
        created: seconds since the epoch.
        sha256: hexadecimal SHA-256 of the secret.
    """

    id: str
    label: str
    created: int
    sha256: str


class _Document(msgspec.Struct, frozen=True):
    keys: tuple[KeyRecord, ...] = ()
    version: int = _VERSION


class KeyFile:
    """The keys in one JSON file, readable by its owner only.

    Every question looks at the file's stamp first, so a key that another process revokes is dead with
    the next request.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: _Stamp | None = None
        self._records: tuple[KeyRecord, ...] = ()

    def list(self) -> tuple[KeyRecord, ...]:
        """Every key, oldest first.

        Raises:
            ConfigurationError: the file is damaged or cannot be read.
        """
        self._refresh()
        return self._records

    def check(self, secret: str) -> TenantId | None:
        """Who holds this secret, or None.

        The comparison takes the same time whichever key matches, or none.

        Raises:
            ConfigurationError: the file is damaged or cannot be read.
        """
        digest = _digest(secret)
        found: TenantId | None = None
        for record in self.list():
            if hmac.compare_digest(record.sha256, digest):
                found = TenantId(record.id)
        return found

    def add(self, label: str) -> str:
        """Make a key and return its secret, which is not kept and cannot be shown again."""
        secret = SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        identifier = f"key-{secrets.token_hex(4)}"
        record = KeyRecord(identifier, label, int(time.time()), _digest(secret))
        with self._locked():
            self._write((*self.list(), record))
        return secret

    def revoke(self, identifier: str) -> KeyRecord:
        """Forget a key; a running server refuses it from the next request on.

        Raises:
            NotFound: there is no key with this id.
        """
        with self._locked():
            records = self.list()
            gone = next((record for record in records if record.id == identifier), None)
            if gone is None:
                known = ", ".join(record.id for record in records) or "none"
                raise NotFound(f"there is no key {identifier!r}; known keys: {known}")
            self._write(tuple(record for record in records if record is not gone))
        return gone

    def _refresh(self) -> None:
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return
        self._records = () if stamp is None else self._read()
        self._stamp = stamp

    def _read_stamp(self) -> _Stamp | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _read(self) -> tuple[KeyRecord, ...]:
        try:
            document = msgspec.json.decode(self._path.read_bytes(), type=_Document)
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        except msgspec.DecodeError as error:
            raise self._unreadable(f"it is damaged ({error})") from error
        if document.version != _VERSION:
            raise self._unreadable(f"it has version {document.version}, this program knows {_VERSION}")
        return document.keys

    def _unreadable(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"cannot use the key file {self._path}: {why}. Repair it, or move it away and make new keys "
            "with `allod keys add`."
        )

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """Keep two commands from losing each other's key."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._path.with_suffix(".lock")
        with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, records: tuple[KeyRecord, ...]) -> None:
        """Replace the file in one move: a reader sees the old keys or the new ones, never half."""
        body = msgspec.json.format(msgspec.json.encode(_Document(records)), indent=2)
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
