"""Blocks on disk: whole or not there, within their limits, and never an error."""

import itertools
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allod.archive.files import file_bytes, read_block, write_block
from allod.archive.folder import ArchiveLimits, BlockFolder
from allod.archive.naming import block_names, tip_name
from allod.archive.secret import home_secret
from allod.core.blocks import BLOCK_TOKENS, StoredTip
from allod.core.ids import BlockName, TenantId

AMPLE = ArchiveLimits(most_bytes=10**9, daily_bytes=10**9)
SECRET = b"s" * 32
DAY = 86_400.0


def opened(
    folder: Path, limits: ArchiveLimits = AMPLE, identity: str = "one", now: float = 0.0
) -> BlockFolder:
    return BlockFolder(folder, identity, SECRET, limits, lambda: now)


def kept(folder: Path, *blocks: tuple[str, bytes], **changes: object) -> BlockFolder:
    """An archive that has written these, opened anew."""
    writing = opened(folder, **changes)  # pyright: ignore[reportArgumentType]
    for name, content in blocks:
        writing.put(BlockName(name), content)
        while BlockName(name) in writing._coming:  # the writer is a thread
            pass
    writing.close()
    return opened(folder, **changes)  # pyright: ignore[reportArgumentType]


def content_of(archive: BlockFolder, name: str) -> bytes | None:
    return None if archive.fetch(BlockName(name)) is None else archive.take(BlockName(name))


def test_a_block_comes_back_after_a_restart(tmp_path: Path) -> None:
    """What was put is there in another process's archive, byte for byte."""
    archive = kept(tmp_path, ("a", b"alpha"), ("b", b"beta"))
    assert archive.holds(BlockName("a"))
    assert not archive.wants(BlockName("a"))
    assert (content_of(archive, "a"), content_of(archive, "b")) == (b"alpha", b"beta")
    assert archive.used_bytes == file_bytes(b"alpha") + file_bytes(b"beta")
    assert archive.wants(BlockName("c"))
    assert content_of(archive, "c") is None


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    """0600 for files, 0700 for their folder, and no word of a prompt in a name."""
    kept(tmp_path / "m", ("a", b"alpha"))
    home_secret(tmp_path / "secret")
    kept(tmp_path / "prefixes" / "m", ("a", b"alpha"))
    for path in ("m/one/a.block", "secret", "m/written.json"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o600
    for path in ("prefixes", "prefixes/m", "prefixes/m/one"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o700


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=200), place=st.integers(0, 300), flip=st.integers(1, 255), cut=st.booleans()
)
def test_damage_is_a_miss(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, place: int, flip: int, cut: bool
) -> None:
    """Any byte that changed, and any end that is missing, is noticed."""
    path = tmp_path_factory.mktemp("damage") / "a.block"
    write_block(path, content)
    assert read_block(path) == content
    data = bytearray(path.read_bytes())
    place %= len(data)
    if cut:
        del data[place:]
    else:
        data[place] ^= flip
    path.write_bytes(data)
    assert read_block(path) is None


def test_a_damaged_block_is_removed_and_written_anew(tmp_path: Path) -> None:
    """It is missed once; then it is wanted again."""
    archive = kept(tmp_path, ("a", b"alpha"))
    path = tmp_path / "one" / "a.block"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert content_of(archive, "a") is None
    assert not path.exists()
    assert archive.wants(BlockName("a"))
    assert not archive.holds(BlockName("a"))


def test_a_block_in_anothers_place_is_a_miss(tmp_path: Path) -> None:
    """Whole as it is, it is not what its name says."""
    kept(tmp_path, ("a", b"alpha"), ("b", b"bravo"))
    one, other = tmp_path / "one" / "a.block", tmp_path / "one" / "b.block"
    one.write_bytes(other.read_bytes())
    archive = opened(tmp_path)
    assert (content_of(archive, "a"), content_of(archive, "b")) == (None, b"bravo")


def test_damage_that_cannot_be_removed_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that can only be read makes no errors either."""
    archive = kept(tmp_path, ("a", b"alpha"))
    (tmp_path / "one" / "a.block").write_bytes(b"junk")

    def refuse(_path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert content_of(archive, "a") is None
    assert not archive.holds(BlockName("a"))


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    """Half a file is no block; the next start removes it."""
    kept(tmp_path, ("a", b"alpha"))
    half = tmp_path / "one" / "b.partial"
    half.write_bytes(b"half")
    archive = opened(tmp_path)
    assert not half.exists()
    assert not archive.holds(BlockName("b"))
    assert content_of(archive, "a") == b"alpha"


def test_blocks_of_another_model_are_removed(tmp_path: Path) -> None:
    """When weights, form or libraries change, what was computed with the old ones is of no use."""
    kept(tmp_path, ("a", b"alpha"))
    archive = opened(tmp_path, identity="two")
    assert not archive.holds(BlockName("a"))
    assert not (tmp_path / "one").exists()


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    """The limit holds at all times, and what is read stays."""
    each = file_bytes(b"12345")
    limits = ArchiveLimits(most_bytes=2 * each, daily_bytes=10**9)
    archive = kept(tmp_path, ("a", b"12345"), ("b", b"12345"), limits=limits)
    assert content_of(archive, "a") == b"12345"
    archive.put(BlockName("c"), b"12345")
    archive.close()
    assert [archive.holds(BlockName(name)) for name in "abc"] == [True, False, True]
    assert sum(path.stat().st_size for path in (tmp_path / "one").glob("*.block")) == archive.used_bytes
    assert archive.used_bytes <= limits.most_bytes


def test_a_day_has_its_limit_across_restarts(tmp_path: Path) -> None:
    """What was written today counts after a restart; tomorrow there is room again."""
    limits = ArchiveLimits(most_bytes=10**9, daily_bytes=2 * file_bytes(b"12345"))
    archive = kept(tmp_path, ("a", b"12345"), ("b", b"12345"), limits=limits)
    archive = kept(tmp_path, ("c", b"12345"), limits=limits)
    assert [archive.holds(BlockName(name)) for name in "abc"] == [True, True, False]
    archive = kept(tmp_path, ("c", b"12345"), limits=limits, now=DAY)
    assert archive.holds(BlockName("c"))


def test_a_damaged_count_begins_anew(tmp_path: Path) -> None:
    """It is one day's protection of a disk, and no reason to fail."""
    kept(tmp_path, ("a", b"alpha"))
    (tmp_path / "written.json").write_text("{")
    assert kept(tmp_path, ("b", b"beta")).holds(BlockName("b"))


def test_a_disk_that_refuses_ends_writing_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning; what is there is still read, and no more is asked for."""
    archive = kept(tmp_path, ("a", b"alpha"))

    def refuse(_path: Path, _content: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("allod.archive.folder.write_block", refuse)
    archive.put(BlockName("b"), b"beta")
    archive.put(BlockName("c"), b"gamma")
    archive.close()
    assert caplog.text.count("no longer kept on disk: no space left") == 1
    assert not archive.wants(BlockName("d"))
    assert content_of(archive, "a") == b"alpha"


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file stands in its place, say."""
    (tmp_path / "m").write_text("")
    archive = opened(tmp_path / "m")
    assert not archive.holds(BlockName("a"))
    assert not archive.wants(BlockName("a"))
    assert "no longer kept on disk" in caplog.text
    archive.close()


def named_tip(tokens: int = 300) -> tuple[list[int], list[BlockName], BlockName]:
    """Tokens, their blocks, and the tip behind them all."""
    read = list(range(tokens))
    blocks = list(block_names(SECRET, TenantId("a"), read))
    last = len(blocks) * BLOCK_TOKENS
    return read, blocks, tip_name(SECRET, blocks[-1], read[last:])


def test_a_tip_comes_back_after_a_restart(tmp_path: Path) -> None:
    """It is found again by the prompt alone, in a file of its own that its owner can read."""
    tokens, blocks, name = named_tip()
    archive = kept(tmp_path, (name, b"tip"))
    assert archive.tips(tokens, blocks) == (StoredTip(300, name),)
    assert content_of(archive, name) == b"tip"
    (path,) = (tmp_path / "one").glob("*.block")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_tip_is_a_miss_and_gone(tmp_path: Path) -> None:
    """It is not found again, and may be written anew."""
    tokens, blocks, name = named_tip()
    archive = kept(tmp_path, (name, b"tip"))
    path = tmp_path / "one" / f"{name}.block"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert archive.fetch(name) is None
    assert archive.tips(tokens, blocks) == ()
    assert archive.wants(name)
    assert not path.exists()


def test_a_tip_makes_room_as_blocks_do(tmp_path: Path) -> None:
    """One limit for both; what went is not found."""
    tokens, blocks, name = named_tip()
    limits = ArchiveLimits(most_bytes=2 * file_bytes(b"12345"), daily_bytes=10**9)
    archive = kept(tmp_path, (name, b"12345"), ("a", b"12345"), ("b", b"12345"), limits=limits)
    assert archive.tips(tokens, blocks) == ()
    assert archive.used_bytes == limits.most_bytes


@pytest.mark.parametrize("mark", ["", "-", "-zz-", "-2c", "-2c-00", "--", "-ffffffff-"])
def test_files_that_nobody_here_has_named_are_no_tips(tmp_path: Path, mark: str) -> None:
    """Whatever somebody puts into the folder."""
    tokens, blocks, _ = named_tip()
    archive = kept(tmp_path, (f"{blocks[0]}{mark}", b"tip"))
    assert archive.tips(tokens, blocks) == ()


def test_nothing_is_wanted_while_much_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is worth more; what was put all the same is written."""
    monkeypatch.setattr("allod.archive.folder._MOST_WAITING_BYTES", 10)
    go_on = threading.Event()

    def wait(path: Path, content: bytes) -> None:
        go_on.wait(10)
        write_block(path, content)

    monkeypatch.setattr("allod.archive.folder.write_block", wait)
    archive = opened(tmp_path)
    archive.put(BlockName("a"), b"12345")
    assert archive.wants(BlockName("c"))
    archive.put(BlockName("b"), b"12345")
    assert not archive.wants(BlockName("c"))
    go_on.set()
    archive.close()
    assert archive.wants(BlockName("c"))
    assert (content_of(archive, "a"), content_of(archive, "b")) == (b"12345", b"12345")


def test_how_long_reading_takes_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bytes of what was read; what is larger takes longer."""
    archive = kept(tmp_path, ("a", bytes(10**5)), ("b", bytes(10**6)))
    before = archive.expected_seconds(BlockName("b"))
    ticks = iter((0.0, 8.0, 8.0, 12.0))
    monkeypatch.setattr("allod.archive.folder.time.perf_counter", lambda: next(ticks))
    assert archive.fetch(BlockName("a")) == 8.0
    assert before < 1
    assert archive.expected_seconds(BlockName("b")) == pytest.approx(80, rel=0.01)
    assert archive.fetch(BlockName("a")) == 4.0
    assert archive.expected_seconds(BlockName("b")) == pytest.approx(60, rel=0.01)


def test_names_stand_for_all_that_was_read_before() -> None:
    """Another token, tenant or secret before the end of a block gives another name to it and all after it."""
    tokens = list(range(3 * BLOCK_TOKENS + 10))
    names = list(block_names(SECRET, TenantId("a"), tokens))
    assert len(names) == len(set(names)) == 3
    assert list(block_names(SECRET, TenantId("a"), tokens[: 2 * BLOCK_TOKENS])) == names[:2]
    turned = [*tokens[:300], 7, *tokens[301:]]
    others = list(block_names(SECRET, TenantId("a"), turned))
    assert [one == other for one, other in zip(names, others, strict=True)] == [True, False, False]
    for secret, tenant in itertools.product((SECRET, b"t" * 32), ("a", "b")):
        if (secret, tenant) != (SECRET, "a"):
            assert not set(names) & set(block_names(secret, TenantId(tenant), tokens))


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    """Another start finds it; a damaged one is said to be."""
    made = home_secret(tmp_path / "deep" / "secret")
    assert len(made) == 32
    assert home_secret(tmp_path / "deep" / "secret") == made
    (tmp_path / "deep" / "secret").write_bytes(b"short")
    with pytest.raises(OSError, match="damaged; remove it"):
        home_secret(tmp_path / "deep" / "secret")
