"""What every keeper keeps. Add an implementation to KEEPERS, and all of this holds for it too."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from allod.core.errors import NotFound, StoreFull
from allod.core.ids import TenantId
from allod.core.keeping import Kept, KeptKind
from allod.core.ports import GroupKeeper
from allod.store.settings import StoreSettings
from allod.store.sqlite import SqliteKeeper
from allod.testing.keeper import MemoryKeeper

A, B = TenantId("a"), TenantId("b")
MAX_BYTES = 2**20
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


Open = Callable[[Path, Clock], GroupKeeper]
KEEPERS: dict[str, Open] = {
    "memory": lambda home, clock: MemoryKeeper(2 * DAY, MAX_BYTES, clock),
    "sqlite": lambda home, clock: SqliteKeeper(home / "store.sqlite3", StoreSettings(2, MAX_BYTES), clock),
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def opened(make: Open, home: Path, clock: Clock) -> AsyncGenerator[GroupKeeper]:
    keeper = make(home, clock)
    yield keeper
    if isinstance(keeper, SqliteKeeper):
        await keeper.close()


@pytest.fixture(params=KEEPERS.values(), ids=list(KEEPERS))
async def keeper(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncGenerator[GroupKeeper]:
    async with opened(request.param, tmp_path, clock) as made:
        yield made


def record(
    identifier: str = "x", tenant: TenantId = A, *, kind: KeptKind = "file", age: int = 0, group: str = ""
) -> Kept:
    return Kept(kind, identifier, tenant, 1_000_000_000 - age, b'{"a":1}', b"\x00content", group)


async def names(keeper: GroupKeeper, tenant: TenantId | None = A, **limits: object) -> list[str]:
    return [kept.identifier for kept in await keeper.list("file", tenant, **limits)]  # type: ignore[arg-type]


async def test_what_is_put_is_got(keeper: GroupKeeper):
    """All of it comes back, byte for byte."""
    await keeper.put(record(group="g"))
    assert await keeper.get("file", "x", A) == record(group="g")


async def test_a_second_put_takes_the_place_of_the_first(keeper: GroupKeeper):
    """One record per kind, identifier and tenant."""
    await keeper.put(record())
    await keeper.put(Kept("file", "x", A, 1_000_000_000, b"new"))
    assert (await keeper.get("file", "x", A)).body == b"new"
    assert await names(keeper) == ["x"]


@pytest.mark.parametrize(("kind", "name", "tenant"), [("file", "x", B), ("batch", "x", A), ("file", "y", A)])
async def test_others_do_not_see_it(keeper: GroupKeeper, kind: KeptKind, name: str, tenant: TenantId):
    """Not another tenant, not under another kind or name; deleting it does nothing to it."""
    await keeper.put(record())
    with pytest.raises(NotFound, match=name):
        await keeper.get(kind, name, tenant)
    assert not await keeper.delete(kind, name, tenant)
    assert await keeper.get("file", "x", A)


async def test_two_tenants_may_use_one_name(keeper: GroupKeeper):
    """Each has its own record."""
    await keeper.put(record(tenant=A))
    await keeper.put(record(tenant=B))
    assert await keeper.delete("file", "x", A)
    assert await names(keeper, A) == []
    assert await names(keeper, B) == ["x"]


async def test_what_is_deleted_is_gone(keeper: GroupKeeper):
    """And is deleted once."""
    await keeper.put(record())
    assert await keeper.delete("file", "x", A)
    assert not await keeper.delete("file", "x", A)
    with pytest.raises(NotFound):
        await keeper.get("file", "x", A)


async def test_lists_run_from_the_newest(keeper: GroupKeeper):
    """By creation, then the later put; pages follow one another without a gap; contents stay behind."""
    for name, age in (("old", 50), ("newest", 0), ("first", 9), ("second", 9)):
        await keeper.put(record(name, age=age))
    await keeper.put(record("theirs", B))
    await keeper.put(record("batch", kind="batch"))
    assert await names(keeper) == ["newest", "second", "first", "old"]
    assert await names(keeper, limit=2) == ["newest", "second"]
    assert await names(keeper, after="second", limit=2) == ["first", "old"]
    assert await names(keeper, after="old") == []
    assert await names(keeper, after="unknown") == []
    assert set(await names(keeper, None)) == {"newest", "second", "first", "old", "theirs"}
    (first, *_) = await keeper.list("file", A)
    assert (first.body, first.content) == (b'{"a":1}', b"")


async def test_what_is_past_its_time_is_not_there(keeper: GroupKeeper, clock: Clock):
    """Neither by name nor in a list, whether it was purged or not."""
    await keeper.put(record("old", age=DAY, group="g"))
    await keeper.put(record("new", group="g"))
    clock.now += DAY
    assert await names(keeper) == ["new"]
    assert [kept.identifier for kept in await keeper.members("file", "g", A)] == ["new"]
    with pytest.raises(NotFound):
        await keeper.get("file", "old", A)


async def test_a_group_is_found_and_forgotten_together(keeper: GroupKeeper):
    """Members are those of one kind, group and tenant; what is in no group is in none."""
    await keeper.put(record("1", group="g"))
    await keeper.put(record("2", group="g"))
    await keeper.put(record("3", group="h"))
    await keeper.put(record("4"))
    await keeper.put(record("5", B, group="g"))
    found = await keeper.members("file", "g", A)
    assert {kept.identifier for kept in found} == {"1", "2"}
    assert {kept.group for kept in found} == {"g"}
    assert await keeper.delete_members("file", "g", A) == 2
    assert await keeper.delete_members("file", "", A) == 0
    assert set(await names(keeper, None)) == {"3", "4", "5"}


async def test_a_full_store_refuses_and_goes_on_when_there_is_room(keeper: GroupKeeper):
    """What does not fit is refused and changes nothing; what replaces more by less is taken."""
    half = Kept("file", "half", A, 1_000_000_000, b"", b"x" * (MAX_BYTES // 2))
    await keeper.put(half)
    with pytest.raises(StoreFull, match="full") as refused:
        await keeper.put(Kept("file", "more", A, 1_000_000_000, b"", b"x" * (MAX_BYTES // 2 + 1)))
    assert refused.value.status == 507
    assert await names(keeper) == ["half"]
    await keeper.put(half)
    await keeper.put(Kept("file", "rest", A, 1_000_000_000, b"", b"x" * (MAX_BYTES // 2)))
    with pytest.raises(StoreFull):
        await keeper.put(record("one more"))
    await keeper.delete("file", "half", A)
    await keeper.put(record("one more"))
