"""The file: who may read it, what it survives, what it refuses, and that what is deleted is gone."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from allod.core.errors import ConfigurationError, StoreFull
from allod.core.ids import TenantId
from allod.core.keeping import Kept
from allod.store.database import Database, KindSummary
from allod.store.settings import StoreSettings
from allod.store.sqlite import SqliteKeeper

A, B = TenantId("a"), TenantId("b")
NOW = 1_000_000_000


def open_at(path: Path, **settings: int) -> Database:
    return Database(path, StoreSettings(**settings), lambda: NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "store.sqlite3"


def test_only_the_owner_can_read_it(path: Path):
    """The file and its log have mode 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        database = open_at(path)
        database.put(Kept("file", "x", A, NOW, b"secret"))
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    database.close()
    assert len(modes) >= 2
    assert set(modes.values()) == {0o600}


def test_it_outlives_the_process(path: Path):
    """What was put is there when the process that put it was killed without warning."""
    script = f"""
import os, signal
from pathlib import Path
from allod.core.keeping import Kept
from allod.store.database import Database
from allod.store.settings import StoreSettings
database = Database(Path({str(path)!r}), StoreSettings(), lambda: {NOW})
for number in range(100):
    database.put(Kept("file", str(number), "a", {NOW}, b"x"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    database = open_at(path)
    assert len(database.list("file", A, limit=1000)) == 100
    database.close()


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_file_is_named_with_the_way_out(path: Path, damage: bytes):
    """The start stops, and the message says which file and what to do."""
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(ConfigurationError, match=r"store\.sqlite3.*Move it away"):
        SqliteKeeper(path, StoreSettings())


def test_a_file_of_another_program_or_version_is_left_alone(path: Path):
    """Nothing is written into it."""
    path.parent.mkdir()
    for pragma, words in (("CREATE TABLE theirs (x)", "version 0"), ("PRAGMA user_version = 9", "version 9")):
        with sqlite3.connect(path) as theirs:
            theirs.execute(pragma)
        theirs.close()
        with pytest.raises(ConfigurationError, match=words):
            open_at(path)
    with sqlite3.connect(path) as theirs:
        assert [name for (name,) in theirs.execute("SELECT name FROM sqlite_schema")] == ["theirs"]
    theirs.close()


def test_a_folder_that_cannot_be_made_is_a_setting_that_is_wrong(tmp_path: Path):
    """Not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot use the store"):
        open_at(tmp_path / "file" / "store.sqlite3")


def fill(database: Database) -> None:
    database.put(Kept("file", "old", A, NOW - 10 * 86_400, b"", b"x" * 100))
    database.put(Kept("file", "new", A, NOW, b"", b"x" * 10))
    database.put(Kept("response", "r", B, NOW - 5, b"body"))


def test_the_summary_counts_records_bytes_and_the_oldest(path: Path):
    """By kind."""
    database = open_at(path)
    fill(database)
    assert database.summary() == [
        KindSummary("file", 2, 110, NOW - 10 * 86_400),
        KindSummary("response", 1, 4, NOW - 5),
    ]
    database.close()


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({}, set()),
        ({"kind": "file"}, {"r"}),
        ({"tenant": "b"}, {"old", "new"}),
        ({"before": NOW - 86_400}, {"new", "r"}),
        ({"kind": "file", "tenant": "b"}, {"old", "new", "r"}),
    ],
)
def test_a_purge_takes_what_was_chosen_and_says_how_many(
    path: Path, chosen: dict[str, object], left: set[str]
):
    """`count` tells before what `purge` does."""
    database = open_at(path)
    fill(database)
    expected = database.count(**chosen)  # type: ignore[arg-type]
    assert database.purge(**chosen) == expected == 3 - len(left)  # type: ignore[arg-type]
    kinds = ("file", "response")
    assert {kept.identifier for kind in kinds for kept in database.list(kind, None)} == left
    database.close()


def test_what_is_deleted_is_not_in_the_file_any_more(path: Path):
    """Bytes are overwritten and given back to the disk."""
    database = open_at(path)
    secret = b"a very secret prompt"
    database.put(Kept("file", "x", A, NOW, secret, secret * 50_000))
    full_bytes = sum(file.stat().st_size for file in path.parent.iterdir())
    database.purge()
    after = b"".join(file.read_bytes() for file in path.parent.iterdir())
    database.close()
    assert full_bytes > 10**6 > len(after)
    assert secret not in after


def test_what_is_past_its_time_goes_at_the_start(path: Path):
    """And what is not, stays."""
    database = open_at(path, retention_days=5)
    fill(database)
    assert database.purge_old() == 1
    assert database.summary()[0].records == 1
    database.close()


def test_room_that_another_process_makes_is_seen(path: Path):
    """`allod store purge` helps a server that is running."""
    server, command = open_at(path, max_bytes=2**20), open_at(path)
    server.put(Kept("file", "x", A, NOW, b"", b"x" * 2**20))
    with pytest.raises(StoreFull, match="allod store purge"):
        server.put(Kept("file", "y", A, NOW, b"y"))
    assert command.purge() == 1
    server.put(Kept("file", "y", A, NOW, b"y"))
    server.close()
    command.close()


async def test_the_keeper_purges_when_it_starts(path: Path):
    """Records that aged while nothing ran are deleted, not only hidden."""
    database = open_at(path)
    fill(database)
    database.close()
    keeper = SqliteKeeper(path, StoreSettings(retention_days=5), lambda: NOW)
    await keeper.start()
    await keeper.close()
    database = open_at(path)
    assert database.count() == 2
    database.close()
