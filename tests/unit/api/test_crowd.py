"""Whoever is one too many hears so, whatever becomes of its body."""

from typing import NoReturn

from starlette.types import Message, Receive, Scope, Send

from allod.api.connection import CROWDED
from allod.api.crowd import Crowd
from allod.core.errors import RequestTimeout


async def unreachable(_: Scope, __: Receive, ___: Send) -> NoReturn:
    raise AssertionError


async def test_a_body_that_does_not_come_changes_nothing() -> None:
    """It was read only to be thrown away."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise RequestTimeout("nothing came")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/models", "headers": [], "state": {CROWDED: True}}
    await Crowd(unreachable, max_connections=8)(scope, receive, send)
    assert sent[0]["status"] == 503
    assert (b"connection", b"close") in sent[0]["headers"]
