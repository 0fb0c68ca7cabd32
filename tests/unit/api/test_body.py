"""What is long to understand is understood beside the event loop."""

import threading

import pytest

from allod.api.body import off_loop
from allod.core.errors import InvalidRequest


@pytest.mark.parametrize(("length", "beside"), [(10, False), (1 << 20, True)])
async def test_long_bodies_are_understood_on_a_thread(length: int, *, beside: bool) -> None:
    """Short ones are not: a thread would take longer than the work."""
    thread = await off_loop(length, threading.current_thread)
    assert (thread is not threading.current_thread()) is beside


@pytest.mark.parametrize("length", [10, 1 << 20])
async def test_errors_come_back(length: int) -> None:
    """From the thread as from here."""

    def refuse() -> None:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest, match="no"):
        await off_loop(length, refuse)
