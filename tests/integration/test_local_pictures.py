"""Pictures of requests, over processes that prepare them and workers that want them."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.scaffolding import fake_worker
from tests.scaffolding.fake_worker import BROKEN, DEADLY, PNG
from tests.scaffolding.local_house import (
    CARD,
    PATIENCE_SECONDS,
    BytePrompts,
    House,
    ask,
    card,
    drain,
    first,
    house,
    is_alive,
)

from allod.core.card import ModelCard
from allod.core.errors import InvalidRequest, ModelUnavailable
from allod.core.events import Accepted, Failed, TextDelta
from allod.core.pictures import Detail, Picture, PictureSpan
from allod.core.request import Conversation, GenerationRequest, Message
from allod.local.backend import LocalBackend
from allod.local.pictures import LaidOut, LocalPictures
from allod.local.render import Rendered
from allod.local.settings import LocalSettings
from allod.media.settings import MediaSettings

FIELD = "messages[0].content[1].image_url.url"
FORM = "<image>"


@dataclass
class Studio:
    """Pictures under test, and what its processes wrote down."""

    pictures: LocalPictures
    folder: Path
    laid: list[LaidOut] = field(default_factory=list[LaidOut])

    @property
    def pids(self) -> list[int]:
        starts = self.folder / "readers"
        return [int(line.split()[1]) for line in starts.read_text().splitlines()] if starts.exists() else []

    @property
    def prepared(self) -> list[str]:
        made = self.folder / "prepared"
        return made.read_text().splitlines() if made.exists() else []

    async def lay_out(
        self, file: bytes = PNG + b"one", form: str = FORM, detail: Detail = "auto", of: ModelCard = CARD
    ) -> LaidOut:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.pictures.lay_out(Picture(file, FIELD, detail), form, of)


@asynccontextmanager
async def studio(folder: Path, **settings: object) -> AsyncIterator[Studio]:
    def command(card: ModelCard) -> Sequence[str]:
        script, starts = fake_worker.__file__, str(folder / "readers")
        return (
            *(sys.executable, script, "--starts", starts),
            *("--model", card.name, "--prepared", str(folder / "prepared")),
        )

    quick: dict[str, object] = {"restart_backoff_seconds": 0.01}
    local = LocalSettings(**(quick | settings))  # type: ignore[arg-type]
    built = Studio(LocalPictures(command, local, MediaSettings()), folder)
    try:
        yield built
    finally:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await built.pictures.close()
        assert not any(map(is_alive, built.pids))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - what it waits for happens in other processes
            await asyncio.sleep(0.005)


async def test_a_layout_is_remembered(tmp_path: Path) -> None:
    """The same picture in the same form is prepared once; its tensors come from what was kept."""
    async with studio(tmp_path) as at:
        one, again = await at.lay_out(), await at.lay_out()
        assert one == again
        assert (one.tokens, one.tensor_bytes, one.field) == ((7, 8, 8, 9), len(PNG) + 3, FIELD)
        (tensor,) = await at.pictures.tensors(one, CARD)
        assert tensor.data == PNG + b"one"
        assert at.prepared == [f"one {FORM} {MediaSettings().max_pixels}"]
        assert len(at.pids) == 1


async def test_whatever_changes_what_is_seen_changes_the_digest(tmp_path: Path) -> None:
    """The bytes, the form and the detail; `high` and `auto` see the same."""
    async with studio(tmp_path) as at:
        base = await at.lay_out()
        others = [
            await at.lay_out(PNG + b"two"),
            await at.lay_out(form="<i>"),
            await at.lay_out(detail="low"),
        ]
        assert len({base.digest, *(other.digest for other in others)}) == 4
        assert (await at.lay_out(detail="high")).digest == base.digest
        assert at.prepared[-1] == f"one {FORM} {MediaSettings().low_detail_pixels}"


async def test_models_have_processes_of_their_own(tmp_path: Path) -> None:
    """What one model makes of a picture says nothing about another, nor about one imported anew."""
    async with studio(tmp_path) as at:
        for of in (CARD, card("other"), card("fable", created=2)):
            await at.lay_out(of=of)
        assert len(at.pids) == len(at.prepared) == 3


async def test_a_process_that_is_not_used_ends(tmp_path: Path) -> None:
    """Its memory is needed by models; the next picture starts another."""
    async with studio(tmp_path, picture_idle_seconds=0.05) as at:
        laid = await at.lay_out()
        await until(lambda: not is_alive(at.pids[0]))
        assert await at.lay_out() == laid
        assert len(at.pids) == 1
        await at.lay_out(PNG + b"two")
        assert len(at.pids) == 2


async def test_a_picture_that_kills_its_process_harms_nobody_else(tmp_path: Path) -> None:
    """Who sent it is told to come again; the next picture is prepared as ever."""
    async with studio(tmp_path) as at:
        await at.lay_out()
        with pytest.raises(ModelUnavailable):
            await at.lay_out(DEADLY)
        assert (await at.lay_out(PNG + b"two")).tokens == (7, 8, 8, 9)


async def test_a_killed_process_is_followed_by_another(tmp_path: Path) -> None:
    """Whether it was killed before or while the request came: afterwards pictures are prepared."""
    async with studio(tmp_path) as at:
        await at.lay_out()
        os.kill(at.pids[0], signal.SIGKILL)
        await until(lambda: len(at.pids) == 2)
        assert (await at.lay_out(PNG + b"two")).tokens == (7, 8, 8, 9)


async def test_a_refusal_names_the_pictures_field(tmp_path: Path) -> None:
    """In the words of whoever could not look at it; it is not remembered as a layout."""
    async with studio(tmp_path) as at:
        for _ in range(2):
            with pytest.raises(InvalidRequest) as caught:
                await at.lay_out(BROKEN)
            assert str(caught.value) == f"{FIELD}: is broken; send another"
            assert caught.value.param == FIELD


async def test_what_begins_like_no_picture_starts_no_process(tmp_path: Path) -> None:
    """The check needs no decoder."""
    async with studio(tmp_path) as at:
        with pytest.raises(InvalidRequest):
            await at.lay_out(b"%PDF-1.7")
        assert at.pids == []


async def test_a_process_that_cannot_start_is_not_tried_with_every_picture(tmp_path: Path) -> None:
    """After a failure there is a time of rest, as with models."""
    attempts: list[str] = []

    def command(card: ModelCard) -> Sequence[str]:
        attempts.append(card.name)
        return (str(tmp_path / "there is no such program"),)

    pictures = LocalPictures(command, LocalSettings(restart_backoff_seconds=30), MediaSettings())
    for _ in range(3):
        with pytest.raises(ModelUnavailable):
            await pictures.lay_out(Picture(PNG + b"one", FIELD), FORM, CARD)
    assert len(attempts) == 1
    await pictures.close()


class PicturePrompts(BytePrompts):
    """The pictures of a conversation before the bytes of its words."""

    def __init__(self, at: Studio) -> None:
        super().__init__()
        self._at = at

    async def render(self, request: GenerationRequest, card: ModelCard) -> Rendered:
        plain = await super().render(request, card)
        source = request.source
        if not isinstance(source, Conversation):
            return plain
        laid = [await self._at.pictures.lay_out(each, FORM, card) for each in source.pictures]
        spans: list[PictureSpan] = []
        tokens: list[int] = []
        for each in laid:
            spans.append(PictureSpan(len(tokens), len(each.tokens), each.digest, each.tensor_bytes))
            tokens += each.tokens
        return replace(plain, tokens=(*tokens, *plain.tokens), spans=tuple(spans), pictures=self._sent(laid))

    def _sent(self, laid: list[LaidOut]) -> tuple[LaidOut, ...]:
        self._at.laid += laid
        return tuple(laid)


@asynccontextmanager
async def seeing_house(folder: Path, *flags: str) -> AsyncIterator[tuple[House, Studio]]:
    """Workers that see, beside processes that prepare what they want."""
    async with studio(folder) as pictures, house(folder, "--sees", *flags) as at:
        at.backend = LocalBackend(
            at.residency,
            PicturePrompts(pictures),
            LocalSettings(accept_wait_seconds=30.0),
            pictures=pictures.pictures,
        )
        yield at, pictures


def about(*files: bytes) -> GenerationRequest:
    """A question about these pictures."""
    pictures = tuple(
        Picture(PNG + file, f"messages[0].content[{index}].image_url.url") for index, file in enumerate(files)
    )
    return ask(source=Conversation((Message("user", "what?"),), pictures=pictures))


async def test_an_answer_about_pictures(tmp_path: Path) -> None:
    """A worker asks for what it lacks, each picture once, and the answer comes."""
    async with seeing_house(tmp_path) as (at, pictures):
        assert await at.text(about(b"one", b"two", b"one")) == "abcdefgh"
        assert await at.text(about(b"two")) == "abcdefgh"
        (model,) = await at.residency.inspect()
        assert model.status is not None
        assert model.status.seen_pictures == 2
        assert len(pictures.prepared) == 2
        await at.is_clean()


async def test_a_slow_client_does_not_keep_a_worker_waiting(tmp_path: Path) -> None:
    """Who reads nothing after Accepted has its pictures looked at and its answer generated all the same."""
    async with seeing_house(tmp_path) as (at, _):
        stream = at.stream(about(b"one", b"two"))
        assert isinstance(await anext(stream), Accepted)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                (model,) = await at.residency.inspect()
                status = model.status
                if status and status.seen_pictures == 2 and status.rows + status.prefilling == 0:
                    break
        events = await drain(stream)
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "abcdefgh"


async def test_a_picture_that_cannot_be_had_twice_fails_its_request_only(tmp_path: Path) -> None:
    """Its process died after the layout: the stream ends with the reason, and the worker goes on."""
    async with seeing_house(tmp_path) as (at, pictures):
        await at.text(about(b"one"))
        at.backend = LocalBackend(
            at.residency,
            PicturePrompts(pictures),
            LocalSettings(accept_wait_seconds=30.0),
            pictures=Unwilling(),
        )
        events = await drain(at.stream(about(b"two")))
        assert isinstance(events[-1], Failed)
        assert str(events[-1].error) == "the decoder is gone"
        assert await at.text(about(b"one")) == "abcdefgh"
        await at.is_clean()


async def test_closed_while_the_worker_waits_for_a_picture(tmp_path: Path) -> None:
    """The law of the room: no lease and no sequence is left, nor a promise for the picture."""
    async with seeing_house(tmp_path) as (at, pictures):
        await at.text(about(b"one"))
        never = Never()
        at.backend = LocalBackend(
            at.residency, PicturePrompts(pictures), LocalSettings(accept_wait_seconds=30.0), pictures=never
        )
        stream = at.stream(about(b"two"))
        await first(stream, Accepted)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await never.asked.wait()
        await stream.aclose()
        await until(lambda: never.was_cancelled)
        await at.is_clean()
        (model,) = await at.residency.inspect()
        assert model.status is not None
        assert model.status.picture_bytes == 4 * fake_worker.SIGHT.feature_bytes_per_token


class Unwilling:
    """Has no tensors for anybody."""

    def require_few(self, pictures: Sequence[Picture]) -> None:
        raise NotImplementedError

    async def lay_out(self, picture: Picture, form: str, card: ModelCard) -> LaidOut:
        raise NotImplementedError

    async def tensors(self, laid: LaidOut, card: ModelCard) -> tuple[()]:
        raise ModelUnavailable("the decoder is gone")


class Never(Unwilling):
    """Takes its time for ever."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.was_cancelled = False

    async def tensors(self, laid: LaidOut, card: ModelCard) -> tuple[()]:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return ()
