"""Pictures of requests: fetched, checked, and laid out by a process of their model's own.

What a picture becomes in a prompt is remembered, since agents send the same ones again with every turn.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from allod.core.card import ModelCard
from allod.core.errors import refused
from allod.core.ids import ModelName, RequestId, TokenId
from allod.core.messages import Prepare, Prepared, Refused
from allod.core.pictures import Digest, Picture, Tensor
from allod.local.link import Link
from allod.local.process import WorkerCommand
from allod.local.refusals import refusal
from allod.local.settings import LocalSettings
from allod.local.supervisor import Supervisor
from allod.media.fetch import fetch
from allod.media.settings import MediaSettings
from allod.media.sniff import require_file

_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A picture with its place in the prompts of one model.

    Attributes:
        digest: over the file and all that decides how it is looked at.
        file: the bytes of the file.
        form: what the prompt holds for it before it is laid out.
        max_pixels: of the picture that the model sees.
        field: where it stands in the request.
        tokens: what the form becomes.
        tensor_bytes: size of what the vision tower reads.
    """

    digest: Digest
    file: bytes
    form: str
    max_pixels: int
    field: str
    tokens: tuple[TokenId, ...] = ()
    tensor_bytes: int = 0


class Pictures(Protocol):
    """Something that makes pictures ready for a model."""

    def require_few(self, pictures: Sequence[Picture]) -> None:
        """Refuse a request with too many of them.

        Raises:
            InvalidRequest: names the first that is too many.
        """
        ...

    async def lay_out(self, picture: Picture, form: str, card: ModelCard) -> LaidOut:
        """What a picture becomes in a prompt of this model.

        Raises:
            InvalidRequest: it cannot be had or looked at; names its field.
            ModelUnavailable: the process that lays pictures out cannot be started, or died.
        """
        ...

    async def tensors(self, laid: LaidOut, card: ModelCard) -> tuple[Tensor, ...]:
        """What the model's vision tower reads of it; raises as `lay_out`."""
        ...


@dataclass(eq=False, slots=True)
class _Reader:
    """The process of one model, and how many use it now."""

    supervisor: Supervisor
    users: int = 0
    leaving: asyncio.TimerHandle | None = None
    parting: asyncio.Task[None] | None = None


class LocalPictures:
    """Lays pictures out with one process for each model, which ends when it was idle for a while.

    Args:
        command: how to start such a process.
        settings: of supervision, and how long a process may idle.
        media: what may be sent.
    """

    def __init__(self, command: WorkerCommand, settings: LocalSettings, media: MediaSettings) -> None:
        self._command = command
        self._settings = settings
        self._media = media
        self._readers: dict[ModelCard, _Reader] = {}
        self._known: dict[tuple[ModelName, int, Digest], tuple[tuple[TokenId, ...], int]] = {}

    def require_few(self, pictures: Sequence[Picture]) -> None:
        """Refuse a request with too many pictures; see `Pictures`."""
        most = self._media.max_pictures
        if len(pictures) > most:
            raise refused(
                pictures[most].field,
                f"this is one of {len(pictures)} pictures, and a request may have {most}; "
                "send fewer, or raise the setting media.max_pictures",
            )

    async def lay_out(self, picture: Picture, form: str, card: ModelCard) -> LaidOut:
        """What a picture becomes in a prompt of this model; see `Pictures`."""
        file = picture.source
        if isinstance(file, str):
            file = await fetch(file, picture.field, self._media)
        require_file(file, picture.field, self._media)
        max_pixels = self._media.max_pixels
        if picture.detail == "low":
            max_pixels = min(max_pixels, self._media.low_detail_pixels)
        digest = await asyncio.to_thread(_digest, file, form, max_pixels)
        key = (card.name, card.created, digest)
        known = self._known.pop(key, None)
        laid = LaidOut(digest, file, form, max_pixels, picture.field)
        if known is None:
            made = await self._prepared(laid, card, wants_tensors=False)
            known = (made.tokens, made.tensor_bytes)
        self._known[key] = known
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        tokens, tensor_bytes = known
        return replace(laid, tokens=tokens, tensor_bytes=tensor_bytes)

    async def tensors(self, laid: LaidOut, card: ModelCard) -> tuple[Tensor, ...]:
        """What the model's vision tower reads of a picture; see `Pictures`."""
        return (await self._prepared(laid, card, wants_tensors=True)).tensors

    async def close(self) -> None:
        """End all processes."""
        for reader in self._readers.values():
            if reader.leaving is not None:
                reader.leaving.cancel()
        await asyncio.gather(*(reader.supervisor.stop() for reader in self._readers.values()))

    async def _prepared(self, laid: LaidOut, card: ModelCard, *, wants_tensors: bool) -> Prepared:
        async with self._link(card) as link:
            sequences = link.allocate(1)
            prepare = Prepare(
                request=RequestId(f"picture-{sequences[0]}"),
                sequences=sequences,
                digest=laid.digest,
                file=laid.file,
                form=laid.form,
                max_pixels=laid.max_pixels,
                wants_tensors=wants_tensors,
            )
            with link.open(prepare) as mailbox:
                match await mailbox.next():
                    case Prepared() as prepared:
                        return prepared
                    case Refused(reason="invalid", message=sentence):
                        raise refused(laid.field, sentence)
                    case Refused() as other:
                        raise refusal(other, laid.field)
                    case letter:
                        raise RuntimeError(f"{type(letter).__name__} is no answer to a picture")

    @asynccontextmanager
    async def _link(self, card: ModelCard) -> AsyncGenerator[Link, None]:
        reader = self._readers.get(card)
        if reader is None:
            reader = self._readers[card] = _Reader(Supervisor(card, self._command, self._settings))
            reader.supervisor.start()
        reader.users += 1
        if reader.leaving is not None:
            reader.leaving.cancel()
            reader.leaving = None
        try:
            if (parting := reader.parting) is not None:
                await asyncio.wait({parting})
                reader.parting = None
                reader.supervisor.start()
            yield await reader.supervisor.ready()
        finally:
            reader.users -= 1
            if not reader.users:
                wait_seconds = self._settings.picture_idle_seconds
                reader.leaving = asyncio.get_running_loop().call_later(wait_seconds, self._part, reader)

    def _part(self, reader: _Reader) -> None:
        reader.leaving = None
        reader.parting = asyncio.create_task(reader.supervisor.stop())


def _digest(file: bytes, form: str, max_pixels: int) -> Digest:
    """Equal only where the model would see the same; the lengths keep the parts apart."""
    whole = hashlib.sha256(f"{max_pixels}:{len(form)}:{form}".encode(errors="replace"))
    whole.update(file)
    return Digest(whole.digest())
