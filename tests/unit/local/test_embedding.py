"""Embedding over a worker's link: rows out, vectors in, refusals with the field's name."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.scaffolding import bert
from tests.scaffolding.local_house import Wire

from allod.core.card import ModelCard
from allod.core.embedding import EmbeddingRequest, Embeddings
from allod.core.errors import AllodError, Busy, ContextLengthExceeded, InvalidRequest, ModelUnavailable
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.messages import Cancel, Embed, Embedded, PrefillProgress, Refused, Report, Stepped, encode
from allod.local.embedding import LocalEmbedder
from allod.local.link import Link
from allod.testing.models import tiny_card

CARD = tiny_card("reads", purpose="embedding", context_tokens=24, vocabulary=40)


class House:
    """An embedder over one link, whose worker is the test."""

    def __init__(self, folder: Path) -> None:
        self.wire = Wire()
        self.link = Link()
        self.link.connection_made(self.wire)
        self.leases = 0
        self.embedder = LocalEmbedder(self, lambda _: folder)

    @asynccontextmanager
    async def lease(self, card: ModelCard) -> AsyncGenerator[Link, None]:
        self.leases += 1
        try:
            yield self.link
        finally:
            self.leases -= 1

    def ask(self, *inputs: str | tuple[int, ...]) -> "asyncio.Task[Embeddings]":
        fields = tuple(f"input[{index}]" for index in range(len(inputs)))
        request = EmbeddingRequest(RequestId("r"), ModelName("reads"), inputs, fields, TenantId("t"))
        return asyncio.create_task(self.embedder.embed(request, CARD))

    async def command(self, task: "asyncio.Task[Embeddings]") -> Embed:
        """The command that the worker gets."""
        async with asyncio.timeout(10):
            while not self.wire.commands and not task.done():  # noqa: ASYNC110 - a thread encodes
                await asyncio.sleep(0.001)
        (command,) = self.wire.commands
        assert isinstance(command, Embed)
        return command

    def hear(self, *reports: Report) -> None:
        self.link.data_received(b"".join(map(encode, reports)))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    bert.write_bert(tmp_path)
    house = House(tmp_path)
    yield house
    house.embedder.close()
    assert house.leases == 0


async def test_texts_become_rows_and_come_back_as_vectors(house: House) -> None:
    """Texts get their special tokens, whatever the file says of truncation; ids stay as they are."""
    task = house.ask("a b", (2, 9, 3), "a b c d e f g h i j k")
    command = await house.command(task)
    assert command.rows[:2] == ((2, 4, 5, 3), (2, 9, 3))
    assert len(command.rows[2]) == 13
    house.hear(Stepped((), (PrefillProgress(command.request, 3, 20),)))
    house.hear(Embedded(command.request, (b"1", b"2", b"3")))
    assert await task == Embeddings((b"1", b"2", b"3"), 20)
    assert house.link.silent_seconds() == 0.0


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ((), InvalidRequest, r"input\[1\]: has no tokens"),
        ((2, 40), InvalidRequest, r"input\[1\]: 40 is not a token id of this model; ids are 0 to 39"),
        ((2,) * 25, ContextLengthExceeded, "maximum context length is 24 tokens.* 25 tokens"),
        ("a " * 23, ContextLengthExceeded, "maximum context length is 24 tokens.* 25 tokens"),
    ],
)
async def test_inputs_that_cannot_be_embedded(
    house: House, given: str | tuple[int, ...], kind: type[AllodError], words: str
) -> None:
    """They are refused by name before a model is asked for."""
    with pytest.raises(kind, match=words) as caught:
        await house.ask("a", given)
    assert caught.value.param == "input[1]"
    assert house.wire.commands == []


async def test_a_text_that_just_fits_is_embedded(house: House) -> None:
    """The limit itself is allowed."""
    task = house.ask("a " * 22)
    command = await house.command(task)
    house.hear(Embedded(command.request, (b"1",)))
    assert (await task).tokens == 24


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("context", ContextLengthExceeded),
        ("invalid", InvalidRequest),
        ("queue_full", Busy),
        ("draining", ModelUnavailable),
    ],
)
async def test_a_workers_refusal_is_the_clients(house: House, reason: str, kind: type[AllodError]) -> None:
    """Each reason is the error it means."""
    task = house.ask("a")
    house.hear(Refused((await house.command(task)).request, reason, "why"))
    with pytest.raises(kind, match="why"):
        await task


async def test_a_worker_that_dies_is_told(house: House) -> None:
    """Nobody waits for a worker that is gone."""
    task = house.ask("a")
    await house.command(task)
    house.link.lose("the worker died")
    with pytest.raises(ModelUnavailable, match="the worker died"):
        await task


async def test_who_leaves_cancels_the_work(house: House) -> None:
    """The worker forgets the request, and the lease is given back."""
    task = house.ask("a")
    command = await house.command(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert house.wire.commands[1:] == [Cancel(command.sequences)]


async def test_files_that_cannot_be_read_are_named(house: House, tmp_path: Path) -> None:
    """A damaged tokenizer makes the model unavailable, with the way out."""
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="Import it again"):
        await house.ask("a")
