"""Whatever keeps a picture from the worker is heard by whoever reads the answer."""

from collections.abc import Sequence

import pytest
from tests.scaffolding.local_house import CARD, Wire

from allod.core.card import ModelCard
from allod.core.errors import AllodError, InternalFailure, ModelUnavailable
from allod.core.pictures import Digest, Picture, Tensor
from allod.local.link import Link
from allod.local.pictures import LaidOut
from allod.local.supply import Supplier
from allod.testing.models import submission

DIGEST = Digest(b"d" * 32)
LAID = LaidOut(DIGEST, b"a file", "<image>", 1, "messages[0]")


class Broken:
    """Pictures that cannot be made ready."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def require_few(self, pictures: Sequence[Picture]) -> None:
        """Any number."""

    async def lay_out(self, picture: Picture, form: str, card: ModelCard) -> LaidOut:
        raise self._error

    async def tensors(self, laid: LaidOut, card: ModelCard) -> tuple[Tensor, ...]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "heard"),
    [(ModelUnavailable("it died"), ModelUnavailable), (RuntimeError("a fault of ours"), InternalFailure)],
)
async def test_a_failure_is_heard(error: Exception, heard: type[AllodError]) -> None:
    """A request whose picture cannot be had ends; a fault of ours stays in the log."""
    link = Link()
    link.connection_made(Wire())
    mailbox = link.open(submission(choices=1, first=link.allocate(1)[0]))
    Supplier(Broken(error), CARD, {DIGEST: LAID}).serve(mailbox, (DIGEST,))
    with pytest.raises(heard) as raised:
        await mailbox.next()
    assert "a fault of ours" not in raised.value.message
