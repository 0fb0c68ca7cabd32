"""A thousand clients of a real server at once."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scaffolding.clients import many_descriptors, reply_of, request_bytes
from tests.scaffolding.server import RunningServer, running_server

pytestmark = pytest.mark.model

CLIENTS = 1000


@pytest.fixture
def server(small_home: Path, tmp_path: Path) -> Iterator[RunningServer]:
    """A queue so short that the test ends soon."""
    with running_server(small_home, tmp_path / "log", "engine.max_queued_requests=24") as server:
        yield server


async def test_a_thousand_clients_at_once_are_served_or_refused(server: RunningServer) -> None:
    """Each gets its whole answer or a 503 with Retry-After; the model answers as before afterwards."""
    port = int(server.base_url.rpartition(":")[2])
    body = {
        "model": "llama",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 2,
        "stream": True,
    }
    request = request_bytes("/v1/chat/completions", body)
    with many_descriptors():
        async with asyncio.timeout(120):
            replies = await asyncio.gather(*(reply_of(port, request) for _ in range(CLIENTS)))
    counts = Counter(reply.status for reply in replies)
    assert counts[200] > 0
    assert set(counts) <= {200, 503}
    for reply in replies:
        if reply.status == 200:
            assert b"data: [DONE]" in reply.body
        else:
            assert int(reply.headers["retry-after"]) > 0
            assert reply.error["code"] == "queue_full"
    assert (await reply_of(port, request)).status == 200
