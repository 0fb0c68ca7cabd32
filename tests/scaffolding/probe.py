"""Asks a gateway for what is answered at once, from a process that does nothing else.

Run as a script with a port and a count, it prints the milliseconds of each answer by path, as JSON.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.scaffolding.clients import request_bytes

ROOT = Path(__file__).parents[2]
PATHS = ("/health", "/v1/models")
PAUSE_SECONDS = 0.01


async def answer_times(port: int, count: int) -> dict[str, list[float]]:
    """Milliseconds of so many answers for each of PATHS, one after the other on one connection."""
    command = (sys.executable, "-m", __name__, str(port), str(count))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    times: dict[str, list[float]] = json.loads(out)
    return times


def main() -> None:
    port, count = map(int, sys.argv[1:])
    took: dict[str, list[float]] = {path: [] for path in PATHS}
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for path in PATHS * count:
            started = time.perf_counter()
            connection.sendall(request_bytes(path, close=False))
            data = b""
            while b"\r\n\r\n" not in data or not data.endswith(b"}"):
                data += connection.recv(1 << 16)
            assert data.startswith(b"HTTP/1.1 200")
            took[path].append((time.perf_counter() - started) * 1000)
            time.sleep(PAUSE_SECONDS)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
