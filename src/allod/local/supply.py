"""Hands a worker what it wants of a prompt's pictures, beside whoever reads the answer."""

import asyncio
import logging
from collections.abc import Mapping

from allod.core.card import ModelCard
from allod.core.errors import AllodError, InternalFailure
from allod.core.messages import Supply
from allod.core.pictures import Digest
from allod.local.link import Mailbox
from allod.local.pictures import LaidOut, Pictures

_log = logging.getLogger(__name__)


class Supplier:
    """Serves one request. It does not wait for the client: a slow one must not keep a worker waiting.

    Args:
        pictures: makes tensors.
        card: the model.
        laid: the request's pictures.
    """

    def __init__(self, pictures: Pictures, card: ModelCard, laid: Mapping[Digest, LaidOut]) -> None:
        self._pictures = pictures
        self._card = card
        self._laid = laid
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, mailbox: Mailbox, digests: tuple[Digest, ...]) -> None:
        """Begin to hand out these pictures; if that fails, the mailbox hears of it."""
        task = asyncio.create_task(self._serve(mailbox, digests))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Hand out no more."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, mailbox: Mailbox, digests: tuple[Digest, ...]) -> None:
        try:
            for digest in digests:
                tensors = await self._pictures.tensors(self._laid[digest], self._card)
                mailbox.supply(Supply(digest, tensors))
        except AllodError as error:
            mailbox.fail(error)
        except Exception:  # noqa: BLE001 - the task has no other reader
            # Nothing else would tell whoever reads the answer, and the worker would wait for its picture.
            _log.exception("a picture could not be handed to the worker")
            mailbox.fail(
                InternalFailure("The server failed to hand a picture to the model; its log has the details.")
            )
