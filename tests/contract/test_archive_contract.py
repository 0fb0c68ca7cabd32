"""What every Archive keeps. Add an implementation to ARCHIVES, and all of this holds for it too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from allod.archive.folder import ArchiveLimits, BlockFolder
from allod.core.blocks import BLOCK_TOKENS, StoredTip
from allod.core.ids import BlockName, TenantId
from allod.core.ports import Archive
from allod.testing.archive import FakeArchive

Factory = Callable[[Path], Archive]

ARCHIVES: dict[str, Factory] = {
    "fake": lambda _: FakeArchive(),
    "folder": lambda folder: BlockFolder(
        folder, "one", b"s" * 32, ArchiveLimits(most_bytes=10**9, daily_bytes=10**9)
    ),
}
MINE = TenantId("mine")
TOKENS = tuple((7 * place + place // 9) % 83 for place in range(3 * BLOCK_TOKENS + 40))


@pytest.fixture(params=ARCHIVES.values(), ids=list(ARCHIVES))
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    return request.param(tmp_path)


def put(archive: Archive, name: BlockName, content: bytes = b"content") -> None:
    """Keep something, and wait until it is there."""
    archive.put(name, content)
    while not archive.holds(name):  # a writer may be a thread
        pass


def tip(archive: Archive, end: int, tokens: tuple[int, ...] = TOKENS, tenant: TenantId = MINE) -> BlockName:
    return archive.tip_name(tokens[:end], archive.names(tenant, tokens))


def test_what_is_put_is_fetched_and_taken(archive: Archive) -> None:
    """As often as it was fetched; what is released is held no longer."""
    name = archive.names(MINE, TOKENS)[1]
    assert archive.wants(name)
    assert archive.fetch(name) is None
    put(archive, name)
    assert not archive.wants(name)
    assert archive.used_bytes >= len(b"content")
    for _ in range(3):
        assert archive.fetch(name) is not None
    archive.release([name])
    assert [archive.take(name) for _ in range(2)] == [b"content"] * 2
    with pytest.raises(KeyError):
        archive.take(name)


def test_reading_is_expected_to_take_time_once_it_is_there(archive: Archive) -> None:
    """What is not there takes none."""
    name = archive.names(MINE, TOKENS)[0]
    assert archive.expected_seconds(name) == 0
    put(archive, name)
    assert archive.expected_seconds(name) >= 0


@pytest.mark.parametrize("end", [BLOCK_TOKENS, BLOCK_TOKENS + 1, 2 * BLOCK_TOKENS - 1, len(TOKENS)])
def test_tips_are_found_wherever_they_stand(archive: Archive, end: int) -> None:
    """By any prompt that begins with the same tokens, at least up to there, and by no other."""
    put(archive, tip(archive, end))
    for length in (end, len(TOKENS)):
        tokens = TOKENS[:length]
        found = archive.tips(tokens, archive.names(MINE, tokens))
        assert list(found) == [StoredTip(end, tip(archive, end))]
    for tokens in (TOKENS[: end - 1], (*TOKENS[: end - 1], 90, *TOKENS[end:]), (90, *TOKENS[1:])):
        assert not archive.tips(tokens, archive.names(MINE, tokens))
    assert not archive.tips(TOKENS, archive.names(TenantId("other"), TOKENS))


def test_all_tips_of_a_prompt_are_found_in_order(archive: Archive) -> None:
    """Those of other prompts that begin alike are left out; blocks are no tips."""
    ends = [700, 300, 290, 512]
    turned = (*TOKENS[:295], 90, *TOKENS[296:])
    for end in ends:
        put(archive, tip(archive, end))
        if end != 290:
            put(archive, tip(archive, end, turned))
    for name in archive.names(MINE, TOKENS):
        put(archive, name)
    found = archive.tips(TOKENS, archive.names(MINE, TOKENS))
    assert [each.position for each in found] == sorted(ends)
    assert len({each.name for each in found}) == len(ends)


def test_tenants_have_names_of_their_own(archive: Archive) -> None:
    """Nobody finds what another has sent."""
    ours, theirs = (
        {*archive.names(tenant, TOKENS), *(tip(archive, end, TOKENS, tenant) for end in range(256, 600))}
        for tenant in (MINE, TenantId("theirs"))
    )
    assert not ours & theirs
    assert len(ours) == 3 + 600 - 256
