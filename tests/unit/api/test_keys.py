"""The key file keeps hashes only, loses nothing, and forgets at once."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from allod.api.keys import KeyFile
from allod.core.errors import ConfigurationError, NotFound


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys.json"


def test_a_secret_opens_as_the_key_it_belongs_to(path: Path) -> None:
    """The tenant is the id of the key, and keys do not mix."""
    keys = KeyFile(path)
    first, second = keys.add("laptop"), keys.add("phone")
    assert [keys.check(first), keys.check(second)] == [record.id for record in keys.list()]
    assert [record.label for record in keys.list()] == ["laptop", "phone"]
    assert len({first, second, *(record.id for record in keys.list())}) == 4


@pytest.mark.parametrize("wrong", ["", "allod-", "x", "\udc80", "é" * 50])
def test_anything_else_opens_nothing(path: Path, wrong: str) -> None:
    """Only the exact secret is a key."""
    keys = KeyFile(path)
    secret = keys.add("laptop")
    assert keys.check(wrong) is None
    assert keys.check(secret[:-1]) is None
    assert keys.check(secret + "x") is None


def test_the_secret_is_not_kept(path: Path) -> None:
    """Who reads the file cannot log in with it, and only its owner reads it."""
    secret = KeyFile(path).add("laptop")
    assert secret.startswith("allod-")
    assert len(secret) == len("allod-") + 43  # 256 bits in base64
    text = path.read_text()
    assert secret not in text
    assert secret.removeprefix("allod-") not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_another_process_revokes_and_adds_at_once(path: Path) -> None:
    """A server that has read the file sees every change with the next question."""
    server, command = KeyFile(path), KeyFile(path)
    assert server.list() == ()
    secret = command.add("laptop")
    tenant = server.check(secret)
    assert tenant is not None
    assert command.revoke(tenant).label == "laptop"
    assert server.check(secret) is None
    path.unlink()
    assert server.list() == ()


def test_revoking_names_the_known_keys(path: Path) -> None:
    """A wrong id changes nothing and says what is there."""
    keys = KeyFile(path)
    keys.add("laptop")
    with pytest.raises(NotFound, match=keys.list()[0].id):
        keys.revoke("key-none")
    assert len(keys.list()) == 1


def test_keys_made_at_the_same_time_all_stay(path: Path) -> None:
    """Two commands cannot overwrite each other's key."""
    with ThreadPoolExecutor(8) as pool:
        secrets = list(pool.map(lambda number: KeyFile(path).add(f"key {number}"), range(24)))
    keys = KeyFile(path)
    assert len(keys.list()) == 24
    assert all(keys.check(secret) for secret in secrets)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"keys": [{"id": 1}]}', '{"keys": [], "version": 99}'])
def test_a_damaged_file_is_named_and_never_means_no_keys(path: Path, damage: str) -> None:
    """An unreadable file stops whoever asks, each time: it must not open the door."""
    keys = KeyFile(path)
    keys.add("laptop")
    path.write_text(damage)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=str(path)):
            keys.list()
    with pytest.raises(ConfigurationError):
        keys.add("another")
    assert path.read_text() == damage


def test_the_file_is_plain_json(path: Path) -> None:
    """An owner can read what is kept: id, label, time and hash."""
    KeyFile(path).add("laptop")
    (record,) = json.loads(path.read_text())["keys"]
    assert set(record) == {"id", "label", "created", "sha256"}
