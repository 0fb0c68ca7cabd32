"""The records in one SQLite file. Plain calls, for one thread."""

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from allod.core.errors import ConfigurationError, NotFound, StoreFull
from allod.core.ids import TenantId
from allod.core.keeping import Kept, KeptKind
from allod.store.settings import StoreSettings

_VERSION = 1
_BUSY_SECONDS = 10.0
_PURGE_HINT = "`allod store purge` makes room, and the setting store.max_bytes gives more"

_SCHEMA = (
    """
    CREATE TABLE kept (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        identifier TEXT NOT NULL,
        tenant TEXT NOT NULL,
        created INTEGER NOT NULL,
        member_of TEXT NOT NULL,
        size INTEGER NOT NULL,
        body BLOB NOT NULL,
        content BLOB NOT NULL,
        UNIQUE (kind, identifier, tenant)
    ) STRICT
    """,
    "CREATE INDEX kept_newest ON kept (kind, tenant, created DESC, place DESC)",
    "CREATE INDEX kept_members ON kept (kind, member_of, tenant) WHERE member_of != ''",
)
_PUT = """
    INSERT INTO kept (kind, identifier, tenant, created, member_of, size, body, content)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (kind, identifier, tenant) DO UPDATE SET
        created = excluded.created, member_of = excluded.member_of, size = excluded.size,
        body = excluded.body, content = excluded.content
"""
_WITHOUT_CONTENT = "SELECT kind, identifier, tenant, created, body, x'', member_of FROM kept"
_NEWEST_FIRST = "ORDER BY created DESC, place DESC LIMIT ?"
_ONE = "kind = ? AND identifier = ? AND tenant = ?"

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class KindSummary:
    """What is kept of one kind.

    Attributes:
        bytes: of bodies and contents.
        oldest: when the oldest was made, in seconds since the epoch.
    """

    kind: str
    records: int
    bytes: int
    oldest: int


class Database:
    """An open store. Every call comes from the thread that made it.

    Args:
        path: made, readable by its owner only, when it is not there.
        settings: how long and how much.
        clock: seconds since the epoch.

    Raises:
        ConfigurationError: the file is damaged, of another program or version, or cannot be used.
    """

    def __init__(self, path: Path, settings: StoreSettings, clock: Clock = time.time) -> None:
        self._path = path
        self._settings = settings
        self._clock = clock
        self._total_bytes: int | None = None
        self._seen_version = -1
        try:
            self._connection = _connect(path)
            self._require_schema()
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(str(error)) from error

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        self._connection.close()

    def put(self, record: Kept) -> None:
        """Keep a record, in place of one with the same kind, identifier and tenant.

        Raises:
            StoreFull: there is no room for it.
        """
        size = len(record.body) + len(record.content)
        key = (record.kind, record.identifier, record.tenant)
        with self._writing():
            before = self._connection.execute(f"SELECT size FROM kept WHERE {_ONE}", key).fetchone()
            grows_bytes = size - (before[0] if before else 0)
            total_bytes = self._total() + grows_bytes
            if grows_bytes > 0 and total_bytes > self._settings.max_bytes:
                raise StoreFull(
                    f"The store is full: {total_bytes} bytes would be kept, and "
                    f"{self._settings.max_bytes} are allowed; {_PURGE_HINT}."
                )
            values = (*key, record.created, record.group, size, record.body, record.content)
            self._connection.execute(_PUT, values)
        self._total_bytes = total_bytes

    def get(self, kind: KeptKind, identifier: str, tenant: TenantId) -> Kept:
        """One record.

        Raises:
            NotFound: this tenant has no such record, or it is past its time.
        """
        row = self._connection.execute(
            "SELECT kind, identifier, tenant, created, body, content, member_of FROM kept "
            f"WHERE {_ONE} AND created > ?",
            (kind, identifier, tenant, self._horizon()),
        ).fetchone()
        if row is None:
            raise NotFound(f"There is no {kind} {identifier!r} here.")
        return Kept(*row)

    def delete(self, kind: KeptKind, identifier: str, tenant: TenantId) -> bool:
        """Forget a record; False when there was none."""
        return self._delete(_ONE, (kind, identifier, tenant)) > 0

    def list(
        self, kind: KeptKind, tenant: TenantId | None, after: str | None = None, limit: int = 100
    ) -> Sequence[Kept]:
        """Records from the newest, those after the one named, without their content."""
        where = "kind = ? AND (? IS NULL OR tenant = ?) AND created > ?"
        values: tuple[object, ...] = (kind, tenant, tenant, self._horizon())
        if after is not None:
            where += (
                " AND (created, place) < (SELECT created, place FROM kept"
                " WHERE kind = ? AND identifier = ? AND (? IS NULL OR tenant = ?))"
            )
            values += (kind, after, tenant, tenant)
        rows = self._connection.execute(f"{_WITHOUT_CONTENT} WHERE {where} {_NEWEST_FIRST}", (*values, limit))
        return [Kept(*row) for row in rows]

    def members(self, kind: KeptKind, group: str, tenant: TenantId) -> Sequence[Kept]:
        """Every record of a group, without its content."""
        where = "kind = ? AND member_of = ? AND member_of != '' AND tenant = ? AND created > ?"
        rows = self._connection.execute(
            f"{_WITHOUT_CONTENT} WHERE {where}", (kind, group, tenant, self._horizon())
        )
        return [Kept(*row) for row in rows]

    def delete_members(self, kind: KeptKind, group: str, tenant: TenantId) -> int:
        """Forget every record of a group."""
        return self._delete(
            "kind = ? AND member_of = ? AND member_of != '' AND tenant = ?", (kind, group, tenant)
        )

    def summary(self) -> Sequence[KindSummary]:
        """What is kept, by kind."""
        rows = self._connection.execute(
            "SELECT kind, COUNT(*), SUM(size), MIN(created) FROM kept GROUP BY kind ORDER BY kind"
        )
        return [KindSummary(*row) for row in rows]

    def count(self, kind: str | None = None, tenant: str | None = None, before: int | None = None) -> int:
        """How many records `purge` would delete."""
        row = self._connection.execute(
            f"SELECT COUNT(*) FROM kept WHERE {_CHOSEN}", _chosen(kind, tenant, before)
        )
        return row.fetchone()[0]

    def purge(self, kind: str | None = None, tenant: str | None = None, before: int | None = None) -> int:
        """Delete records and give their bytes back to the disk.

        Args:
            kind: only of this kind.
            tenant: only this tenant's.
            before: only those made before, in seconds since the epoch.

        Returns:
            How many there were.
        """
        gone = self._delete(_CHOSEN, _chosen(kind, tenant, before))
        # A script, because `execute` stops after the first page that is given back.
        self._connection.executescript("PRAGMA incremental_vacuum")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return gone

    def purge_old(self) -> int:
        """Delete what is past its time."""
        return self.purge(before=self._horizon() + 1)

    def _horizon(self) -> int:
        """Records made then or earlier are past their time."""
        return int(self._clock()) - self._settings.retention_seconds

    def _total(self) -> int:
        """Bytes kept. Counted anew only after another process has written."""
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if self._total_bytes is None or version != self._seen_version:
            row = self._connection.execute("SELECT COALESCE(SUM(size), 0) FROM kept").fetchone()
            self._total_bytes, self._seen_version = int(row[0]), version
        return self._total_bytes

    def _delete(self, where: str, values: tuple[object, ...]) -> int:
        with self._writing():
            gone = self._connection.execute(f"DELETE FROM kept WHERE {where}", values).rowcount
        self._total_bytes = None
        return gone

    @contextmanager
    def _writing(self) -> Generator[None]:
        """One transaction; a full disk is a full store."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StoreFull(f"The disk of the store is full; {_PURGE_HINT}.") from error
            raise

    def _require_schema(self) -> None:
        """Make the tables in a new file; refuse a file that is not ours.

        Raises:
            ConfigurationError: it has tables of another program or version.
        """
        with self._writing():
            version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
            tables: int = self._connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0]
            if version == 0 and tables == 0:
                for statement in _SCHEMA:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise self._unusable(f"it has version {version}, this program knows {_VERSION}")

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"cannot use the store {self._path}: {why}. Move it away (with its -wal and -shm files) "
            "to start with an empty one."
        )


_CHOSEN = "(? IS NULL OR kind = ?) AND (? IS NULL OR tenant = ?) AND (? IS NULL OR created < ?)"


def _chosen(kind: str | None, tenant: str | None, before: int | None) -> tuple[object, ...]:
    return (kind, kind, tenant, tenant, before, before)


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # SQLite gives its log and index the mode of the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        for pragma in (
            "auto_vacuum = INCREMENTAL",  # of a new file only; before anything is written
            "journal_mode = WAL",
            "synchronous = NORMAL",  # a killed process loses nothing; a power cut, the last moments
            "secure_delete = ON",  # what was deleted is overwritten, not only forgotten
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
