"""Files and batches as the OpenAI SDK sees them, over a line runner that follows a script."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import openai
import pytest
from openai.types import Batch, FileDeleted, FileObject
from tests.scaffolding.batch_house import (
    BatchHouse,
    Clock,
    FakeLines,
    begin,
    jsonl,
    line,
    open_house,
    read,
    until,
)

from allod.core.ids import TenantId
from allod.core.keeping import Kept
from allod.store.settings import StoreSettings
from allod.store.sqlite import SqliteKeeper
from allod.testing.keeper import MemoryKeeper


@pytest.fixture
async def house():
    async with open_house() as made:
        yield made


async def settled(lines: FakeLines, calls: int) -> None:
    """Wait until so many lines were begun."""
    async with asyncio.timeout(5):
        while len(lines.calls) < calls:  # noqa: ASYNC110 - what is watched has no event of its own
            await asyncio.sleep(0.001)


# ---------------------------------------------------------------- files


async def test_a_file_lives_from_upload_to_delete(house: BatchHouse):
    """Every call of the SDK gives its type, with the fields OpenAI fills; the bytes come back as sent."""
    client = house.sdk()
    content = b"\x00\xff\r\n--x\r\n" * 1000
    made = await client.files.create(file=("a \u00fc.bin", content), purpose="user_data")
    assert isinstance(made, FileObject)
    assert (made.bytes, made.filename, made.purpose, made.status) == (
        len(content),
        "a \u00fc.bin",
        "user_data",
        "processed",
    )
    assert made.expires_at == made.created_at + 30 * 86_400
    assert made.model_extra == {}
    assert await client.files.retrieve(made.id) == made
    assert (await client.files.content(made.id)).content == content
    gone = await client.files.delete(made.id)
    assert gone == FileDeleted(id=made.id, deleted=True, object="file")
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            await call(made.id)


async def test_files_are_listed_in_pages(house: BatchHouse):
    """Newest first or oldest first, by purpose; the SDK's pager sees each once."""
    client = house.sdk()
    for number in range(5):
        await client.files.create(file=(f"{number}", b"x"), purpose="batch" if number % 2 else "vision")
        house.clock.now += 1
    assert [each.filename async for each in client.files.list(limit=2)] == ["4", "3", "2", "1", "0"]
    assert [each.filename async for each in client.files.list(order="asc")] == ["0", "1", "2", "3", "4"]
    assert [each.filename async for each in client.files.list(purpose="batch")] == ["3", "1"]
    with pytest.raises(openai.BadRequestError, match="limit"):
        await client.files.list(limit=0)
    with pytest.raises(openai.BadRequestError, match="after"):
        await client.files.list(after="file-unknown")


async def test_a_file_goes_when_its_time_is_over(house: BatchHouse):
    """`expires_after` is honoured to the second, in lists and by name."""
    client = house.sdk()
    made = await client.files.create(
        file=("x", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    house.clock.now += 3600
    assert [each async for each in client.files.list()] == []
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(made.id)
    with pytest.raises(openai.BadRequestError, match="3600"):
        await client.files.create(
            file=("x", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 1}
        )


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"files": {"file": ("x", b"x")}}, "purpose"),
        ({"files": {"file": ("x", b"x")}, "data": {"purpose": "batch_output"}}, "purpose"),
        ({"files": {"other": ("x", b"x")}, "data": {"purpose": "batch"}}, "file"),
        ({"json": {"purpose": "batch"}}, "Content-Type"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "Content-Type"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, None),
        ({"content": b"", "headers": {"content-type": "multipart/form-data; boundary=b"}}, None),
    ],
)
async def test_a_broken_upload_names_the_field(house: BatchHouse, form: dict[str, object], param: str | None):
    """Always a 400 of OpenAI's shape."""
    async with house.http() as client:
        answer = await client.post("/v1/files", **form)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("size", [2000, 200_000])
async def test_a_file_that_is_too_long_is_refused(size: int):
    """By its own length, or by that of the whole body before it is read."""
    async with open_house(max_file_bytes=1024) as house:
        with pytest.raises(openai.APIStatusError, match=r"batches\.max_file_bytes") as refused:
            await house.sdk().files.create(file=("x", b"x" * size), purpose="batch")
    assert refused.value.status_code == 413


async def test_a_full_store_says_what_to_do():
    """507, with the command that makes room."""
    async with open_house(MemoryKeeper(max_bytes=100)) as house:
        with pytest.raises(openai.InternalServerError, match="full") as refused:
            await house.sdk().files.create(file=("x", b"x" * 200), purpose="batch")
    assert (refused.value.status_code, refused.value.code) == (507, "store_full")


# ---------------------------------------------------------------- batches


async def test_a_batch_answers_every_line(house: BatchHouse):
    """Answers in the order of the input, errors in a file of their own, counts and usage summed up."""
    client = house.sdk()
    made = await begin(client, line(0), line(1, "wrong"), line(2), line(3, "broken"))
    assert isinstance(made, Batch)
    assert (made.status, made.object, made.endpoint) == ("validating", "batch", "/v1/chat/completions")
    assert made.expires_at == made.created_at + 86_400
    assert made.model_extra == {}
    batch = await until(client, made.id)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 4, "completed": 2, "failed": 2}
    assert batch.in_progress_at == batch.finalizing_at == batch.completed_at == batch.created_at
    assert batch.usage is not None
    assert batch.usage.to_dict() == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 16,
    }
    answers = await read(client, batch.output_file_id)
    assert [each["custom_id"] for each in answers] == ["r0", "r2"]
    first = answers[0]
    assert set(first) == {"id", "custom_id", "response", "error"}
    assert first["id"].startswith("batch_req_")
    assert first["error"] is None
    assert (first["response"]["status_code"], first["response"]["body"]["said"]) == (200, 0)
    assert first["response"]["request_id"] == house.lines.calls[0].request
    errors = await read(client, batch.error_file_id)
    assert [(each["custom_id"], each["response"]["status_code"]) for each in errors] == [
        ("r1", 400),
        ("r3", 500),
    ]
    assert "secret" not in json.dumps(errors)
    assert {call.tenant for call in house.lines.calls} == {"a"}
    assert await house.keeper.members("batch_line", made.id, TenantId("a")) == []


async def test_all_well_means_no_error_file_and_the_model_is_known(house: BatchHouse):
    """And the other way round: no output file where nothing succeeded."""
    client = house.sdk()
    good = await until(client, (await begin(client, line(0), line(1))).id)
    assert (good.error_file_id, good.model) == (None, "m")
    bad = await until(client, (await begin(client, line(0, "wrong"))).id)
    assert (bad.output_file_id, bad.status) == (None, "completed")
    mixed = await until(client, (await begin(client, line(0), line(1, "wrong"))).id)
    assert mixed.model is None


async def test_only_so_many_lines_run_at_a_time():
    """Over all batches together."""
    async with open_house(lines_in_flight=3) as house:
        client = house.sdk()
        begun = [await begin(client, *(line(number) for number in range(10))) for _ in range(3)]
        for batch in begun:
            assert (await until(client, batch.id)).status == "completed"
        assert house.lines.most == 3
        assert len(house.lines.calls) == 30


async def test_a_busy_server_is_asked_again(house: BatchHouse):
    """503 is not an answer yet; the waits grow, and the last one stands."""
    house.lines.busy = 3
    client = house.sdk()
    batch = await until(client, (await begin(client, line(0, "busy"))).id)
    assert (batch.error_file_id, house.pauses) == (None, [1.0, 2.0, 4.0])
    house.lines.busy = 99
    batch = await until(client, (await begin(client, line(0, "busy"))).id)
    assert [each["response"]["status_code"] for each in await read(client, batch.error_file_id)] == [503]


async def test_faults_of_the_file_are_told_by_line(house: BatchHouse):
    """A file with a fault fails before anything of it runs, and every fault has its line."""
    client = house.sdk()
    text = jsonl(line(0)) + b"\n{broken\n" + jsonl(line(1, custom_id="r0"), line(2, url="/v1/embeddings"))
    file = await client.files.create(file=("in", text), purpose="batch")
    made = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    batch = await until(client, made.id)
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(each.code, each.line, each.param) for each in batch.errors.data] == [
        ("invalid_json_line", 3, None),
        ("duplicate_custom_id", 4, "custom_id"),
        ("invalid_url", 5, "url"),
    ]
    assert house.lines.calls == []


async def test_cancelling_stops_what_runs_and_keeps_what_is_done(house: BatchHouse):
    """The line that is being answered is broken off; a second cancel changes nothing."""
    client = house.sdk()
    made = await begin(client, line(0), *(line(number, "hold") for number in range(1, 20)))
    await settled(house.lines, 5)
    batch = await client.batches.cancel(made.id)
    assert batch.status == "cancelling"
    assert batch.cancelling_at is not None
    batch = await until(client, made.id)
    assert (batch.status, house.lines.running) == ("cancelled", 0)
    assert house.lines.cancelled > 0
    assert [each["custom_id"] for each in await read(client, batch.output_file_id)] == ["r0"]
    assert (await client.batches.cancel(made.id)).status == "cancelled"
    over = await until(client, (await begin(client, line(0))).id)
    with pytest.raises(openai.BadRequestError, match="completed"):
        await client.batches.cancel(over.id)


async def test_a_batch_that_waits_for_its_turn_can_be_cancelled(house: BatchHouse):
    """Even one that was not read yet."""
    client = house.sdk()
    for _ in range(4):
        await begin(client, line(0, "hold"))
    await settled(house.lines, 4)
    waiting = await begin(client, line(0))
    assert (await client.batches.cancel(waiting.id)).status == "cancelling"
    assert (await until(client, waiting.id)).status == "cancelled"


@pytest.mark.parametrize("left_seconds", [0.0, 0.05])
async def test_what_is_not_answered_in_time_expires(left_seconds: float):
    """The done lines are in the output; each other line is an error that says why, and has no response."""
    clock, lines = Clock(), FakeLines()
    keeper = MemoryKeeper(clock=clock)
    async with open_house(keeper, clock=clock, lines=lines) as house:
        made = await begin(house.sdk(), line(0), line(1, "hold"), line(2, "hold"))
        await settled(lines, 3)
    assert made.expires_at is not None
    clock.now = made.expires_at - left_seconds
    async with open_house(keeper, clock=clock, lines=lines) as house:
        client = house.sdk()
        batch = await until(client, made.id)
        answers, errors = await read(client, batch.output_file_id), await read(client, batch.error_file_id)
    assert (batch.status, batch.expired_at) == ("expired", int(clock.now))
    assert [each["custom_id"] for each in answers] == ["r0"]
    told = [(each["custom_id"], each["response"], each["error"]["code"]) for each in errors]
    assert told == [("r1", None, "batch_expired"), ("r2", None, "batch_expired")]
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 1, "failed": 2}
    assert lines.running == 0


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_restart_goes_on_and_answers_no_line_twice(kind: str, tmp_path: Path):
    """Whatever was kept before the end is not asked again; the output has every line once, in order."""
    clock, lines = Clock(), FakeLines()
    memory = MemoryKeeper(clock=clock)

    def keeper() -> MemoryKeeper | SqliteKeeper:
        return memory if kind == "memory" else SqliteKeeper(tmp_path / "s.sqlite3", StoreSettings(), clock)

    first = keeper()
    async with open_house(first, clock=clock, lines=lines, lines_in_flight=2) as house:
        made = await begin(house.sdk(), line(0), line(1), line(2, "hold"), line(3, "hold"), line(4))
        await settled(lines, 4)
        await until(house.sdk(), made.id, "in_progress")
    if isinstance(first, SqliteKeeper):
        await first.close()
    lines.gate.set()
    second = keeper()
    async with open_house(second, clock=clock, lines=lines, lines_in_flight=2) as house:
        client = house.sdk()
        batch = await until(client, made.id)
        answers = await read(client, batch.output_file_id)
    if isinstance(second, SqliteKeeper):
        await second.close()
    assert batch.status == "completed"
    assert [each["custom_id"] for each in answers] == ["r0", "r1", "r2", "r3", "r4"]
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 5, "failed": 0}
    asked = [call.body["say"] for call in lines.calls]
    assert [asked.count(number) for number in range(5)] == [1, 1, 2, 2, 1]


KILLED = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.scaffolding.batch_house import Clock, begin, line, open_house
from allod.store.settings import StoreSettings
from allod.store.sqlite import SqliteKeeper

async def main():
    keeper = SqliteKeeper(Path(sys.argv[1]), StoreSettings(), Clock())
    async with open_house(keeper, lines_in_flight=1) as house:
        made = await begin(house.sdk(), *(line(number) for number in range(200)))
        print(made.id, flush=True)
        while len(house.lines.calls) < 50:
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_killed_server_goes_on_where_it_was(tmp_path: Path):
    """After SIGKILL in the middle, the next life answers what is missing; the output has each line once."""
    path, root = tmp_path / "s.sqlite3", Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(path), str(root), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    clock = Clock()
    keeper = SqliteKeeper(path, StoreSettings(), clock)
    async with open_house(keeper, clock=clock) as house:
        client = house.sdk()
        batch = await until(client, told.decode().strip())
        answers = await read(client, batch.output_file_id)
        again = len(house.lines.calls)
    await keeper.close()
    assert [each["custom_id"] for each in answers] == [f"r{number}" for number in range(200)]
    assert 150 <= again <= 152


class Dying(MemoryKeeper):
    """Stops, as a killed process does, before the put that says `status`."""

    def __init__(self, clock: Clock, status: str) -> None:
        super().__init__(clock=clock)
        self.status: str | None = status
        self.died = asyncio.Event()

    async def put(self, record: Kept) -> None:
        if self.status and record.kind == "batch" and f'"status":"{self.status}"'.encode() in record.body:
            self.died.set()
            await asyncio.Event().wait()
        await super().put(record)


@pytest.mark.parametrize("status", ["in_progress", "finalizing", "completed"])
async def test_a_death_between_two_states_costs_nothing(status: str):
    """The batch goes on from the last state that was stored, with one output file and each line once."""
    clock, lines = Clock(), FakeLines()
    keeper = Dying(clock, status)
    async with open_house(keeper, clock=clock, lines=lines) as house:
        made = await begin(house.sdk(), line(0), line(1))
        await keeper.died.wait()
    keeper.status = None
    async with open_house(keeper, clock=clock, lines=lines) as house:
        client = house.sdk()
        batch = await until(client, made.id)
        assert batch.status == "completed"
        assert [each["custom_id"] for each in await read(client, batch.output_file_id)] == ["r0", "r1"]
        outputs = [each.id async for each in client.files.list(purpose="batch_output")]
    assert outputs == [batch.output_file_id]
    assert len(lines.calls) == 2


async def test_a_batch_whose_file_is_gone_fails_and_says_why():
    """It was deleted before the batch could be read again."""
    clock, lines = Clock(), FakeLines()
    keeper = MemoryKeeper(clock=clock)
    async with open_house(keeper, clock=clock, lines=lines) as house:
        made = await begin(house.sdk(), line(0, "hold"))
        await settled(lines, 1)
        await house.sdk().files.delete(made.input_file_id)
    async with open_house(keeper, clock=clock, lines=lines) as house:
        batch = await until(house.sdk(), made.id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert batch.errors.data[0].code == "not_found"


async def test_batches_are_listed_in_pages_with_their_metadata(house: BatchHouse):
    """Newest first; the SDK's pager sees each once, running or not."""
    client = house.sdk()
    for number in range(3):
        file = await client.files.create(file=("in", jsonl(line(0, "hold"))), purpose="batch")
        await client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"number": str(number)},
        )
        house.clock.now += 1
    found = [each async for each in client.batches.list(limit=2)]
    assert [each.metadata for each in found] == [{"number": "2"}, {"number": "1"}, {"number": "0"}]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/images/generations"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": None}, "input_file_id"),
        ({"metadata": {str(number): "x" for number in range(17)}}, None),
        ({"metadata": {"k": "x" * 513}}, "metadata.k"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "output_expires_after.seconds"),
    ],
)
async def test_a_wrong_batch_names_the_field(
    house: BatchHouse, changes: dict[str, object], param: str | None
):
    """Always a 400 of OpenAI's shape, and nothing is begun."""
    file = await house.sdk().files.create(file=("in", jsonl(line(0))), purpose="batch")
    sound = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    async with house.http() as client:
        answer = await client.post("/v1/batches", json={**sound, **changes})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == (param or "metadata")
        assert (await client.get("/v1/batches")).json()["data"] == []


async def test_a_file_for_something_else_is_no_input(house: BatchHouse):
    """Its purpose must be batch."""
    client = house.sdk()
    file = await client.files.create(file=("in", jsonl(line(0))), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose batch"):
        await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )


async def test_what_one_tenant_has_is_not_there_for_another(house: BatchHouse):
    """404 for every call on another's file or batch, and neither is listed."""
    mine, theirs = house.sdk("a"), house.sdk("b")
    batch = await begin(mine, line(0))
    batch = await until(mine, batch.id)
    assert batch.output_file_id is not None
    for file in (batch.input_file_id, batch.output_file_id):
        for call in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
            with pytest.raises(openai.NotFoundError):
                await call(file)
    for call in (theirs.batches.retrieve, theirs.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            await call(batch.id)
    with pytest.raises(openai.NotFoundError):
        await theirs.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    assert [each async for each in theirs.files.list()] == []
    assert [each async for each in theirs.batches.list()] == []
    assert await mine.files.retrieve(batch.output_file_id)


async def test_output_files_expire_as_asked(house: BatchHouse):
    """`output_expires_after` counts from the making of the file."""
    client = house.sdk()
    file = await client.files.create(file=("in", jsonl(line(0))), purpose="batch")
    made = await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )
    batch = await until(client, made.id)
    assert batch.output_file_id is not None
    output = await client.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 7200
