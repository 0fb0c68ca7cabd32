"""`allod store`: what is shown, what is deleted, and that it asks."""

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allod.core.ids import TenantId
from allod.core.keeping import Kept
from allod.store.database import Database
from allod.store.settings import StoreSettings

Run = Callable[..., Any]
DAY = 86_400


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The path of a store with three records."""
    path, now = tmp_path / "store.sqlite3", int(time.time())
    store = Database(path, StoreSettings())
    store.put(Kept("file", "old", TenantId("a"), now - 10 * DAY, b"", b"x" * 2048))
    store.put(Kept("file", "new", TenantId("a"), now, b""))
    store.put(Kept("response", "r", TenantId("b"), now, b"x"))
    store.close()
    return path


def left(path: Path) -> int:
    store = Database(path, StoreSettings())
    count = store.count()
    store.close()
    return count


def test_show_counts_what_is_kept(allod: Run, filled: Path) -> None:
    """Records, size and the oldest day of each kind; the same as JSON."""
    ended = allod("store", "show")
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert [row[:3] for row in rows] == [["file", "2", "2 KiB"], ["response", "1", "1 B"]]
    told = json.loads(allod("store", "show", "--json").out)
    assert [(item["kind"], item["records"], item["bytes"]) for item in told] == [
        ("file", 2, 2048),
        ("response", 1, 1),
    ]


def test_show_of_nothing_says_so(allod: Run) -> None:
    """An empty home has an empty store."""
    ended = allod("store", "show")
    assert (ended.code, ended.out, ended.err) == (0, "", "nothing is kept\n")


@pytest.mark.parametrize(
    ("chosen", "stays"),
    [
        ((), 0),
        (("--kind", "file"), 1),
        (("--older-than", "7"), 2),
        (("--tenant", "b"), 2),
        (("--kind", "response", "--tenant", "a"), 3),
    ],
)
def test_purge_deletes_what_is_chosen(allod: Run, filled: Path, chosen: tuple[str, ...], stays: int) -> None:
    """And says how many went."""
    ended = allod("store", "purge", "--yes", *chosen)
    assert (ended.code, ended.err) == (0, f"deleted {3 - stays} records\n")
    assert left(filled) == stays


def test_purge_asks_first(allod: Run, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says no keeps everything."""
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    ended = allod("store", "purge")
    assert ended.code == 1
    assert "Delete 3 records?" in ended.err
    assert left(filled) == 3


def test_a_damaged_store_is_a_usage_error(allod: Run, tmp_path: Path) -> None:
    """With the file's name and the way out."""
    (tmp_path / "store.sqlite3").write_bytes(b"nonsense" * 200)
    ended = allod("store", "show")
    assert ended.code == 2
    assert "Move it away" in ended.err
