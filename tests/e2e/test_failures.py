"""Workers killed for real, clients that leave, disks that are full, input that is wrong: the server lives."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import openai
import pytest
from tests.scaffolding.server import RunningServer

pytestmark = pytest.mark.model

MODEL = "llama"
LONG = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "go"}],
    "max_tokens": 1900,
    "seed": 1,
}


ENDLESS = {"ignore_eos": True}


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def model_state(server: RunningServer) -> dict[str, object]:
    (model,) = server.get("/ready").json()["models"]
    return model


def is_idle(server: RunningServer) -> bool:
    state = model_state(server)
    return state["rows"] == 0 and state["queued"] == 0 and state["requests"] == 0


@pytest.mark.parametrize("killer", [signal.SIGKILL, signal.SIGABRT])
def test_a_killed_worker_ends_streams_with_an_error_and_comes_back(
    small_server: RunningServer, small: openai.OpenAI, killer: signal.Signals
) -> None:
    """Within two seconds every stream raises, /health is degraded, then the next request works."""
    stream = small.chat.completions.create(**LONG, extra_body=ENDLESS, stream=True)
    iterator = iter(stream)
    for _ in range(3):
        next(iterator)
    (pid,) = small_server.worker_pids()
    os.kill(pid, killer)
    killed = time.monotonic()
    with pytest.raises(openai.APIError, match="stopped unexpectedly"):
        for _ in iterator:
            pass
    assert time.monotonic() - killed < 2.0
    assert small_server.get("/health").json()["status"] == "degraded"
    answer = small.chat.completions.create(**{**LONG, "max_tokens": 3})
    assert answer.usage is not None
    assert small_server.get("/health").json()["status"] == "ok"


def test_a_client_that_leaves_frees_its_row(small_server: RunningServer) -> None:
    """In the middle of a stream, and while a whole answer is waited for."""
    for streaming in (True, False):
        body = json.dumps({**LONG, **ENDLESS, "stream": streaming}).encode()
        host, port = small_server.base_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            client.sendall(head.encode() + body)
            wait_until(lambda: model_state(small_server)["rows"] == 1)
        wait_until(lambda: is_idle(small_server), seconds=2.0)


def post(server: RunningServer, content: bytes) -> httpx2.Response:
    return httpx2.post(
        f"{server.openai_url}/chat/completions",
        content=content,
        headers={"Content-Type": "application/json"},
        timeout=30,
    )


def chat(**changes: object) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **changes}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("content", "status", "param", "words"),
    [
        (b'{"model": ', 400, None, "JSON"),
        (b"[1, 2]", 400, None, "object"),
        (b"\xff\xfe", 400, None, "UTF-8"),
        (b"{" + b" " * (65 * 2**20) + b"}", 413, None, "max_body_bytes"),
        (
            chat(messages=[{"role": "user", "content": "a\x00b"}]),
            400,
            "messages[0].content",
            "NUL character",
        ),
        (chat(model="nonesuch"), 404, "model", "llama"),
        (chat(model="../../etc/passwd"), 404, "model", "llama"),
        (chat(max_tokens=-5), 400, "max_tokens", "-5"),
        (chat(temperature=float("nan")), 400, None, "NaN"),
        (chat(temperature="hot"), 400, "temperature", "string"),
        (chat(temperature=9), 400, "temperature", "2"),
        (chat(messages=[]), 400, "messages", "messages"),
        (chat(messages=[{"role": "wizard", "content": "x"}]), 400, "messages[0].role", "wizard"),
        (chat(max_tokens=100_000), 400, "messages", "maximum context length is 2048 tokens"),
        (chat(logit_bias={"99999": 1}), 400, "logit_bias", "99999"),
        (chat(n=10_000), 400, "n", "n"),
    ],
)
def test_bad_input_is_a_clear_error_and_the_server_lives(
    small_server: RunningServer, content: bytes, status: int, param: str | None, words: str
) -> None:
    """The status, the field and the problem; never a traceback, never `detail`; the next request works."""
    response = post(small_server, content)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert words in error["message"]
    assert "Traceback" not in response.text
    assert post(small_server, chat()).status_code == 200


def test_liveness_answers_at_once_under_load(small_server: RunningServer, small: openai.OpenAI) -> None:
    """/health and /v1/models answer while a stream runs."""
    with small.chat.completions.create(**LONG, extra_body=ENDLESS, stream=True) as stream:
        next(iter(stream))
        slowest = 0.0
        for path in ("/health", "/v1/models") * 10:
            started = time.monotonic()
            assert small_server.get(path).status_code == 200
            slowest = max(slowest, time.monotonic() - started)
    assert slowest < 0.5
    wait_until(lambda: is_idle(small_server), seconds=2.0)


def test_ignored_fields_are_named(small_server: RunningServer) -> None:
    """A field we do not know is no error, and is listed."""
    response = post(small_server, chat(store=True, metadata={}))
    assert response.status_code == 200
    assert response.headers["x-allod-ignored-fields"].replace(" ", "").split(",") == ["metadata", "store"]


def run_cli(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "allod", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_lying_safetensors_file_is_refused(tmp_path: Path) -> None:
    """The import names the file and the lie, and leaves nothing behind."""
    source = tmp_path / "liar"
    source.mkdir()
    (source / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (source / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    (source / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 100)
    result = run_cli(tmp_path / "home", "import", str(source))
    assert result.returncode == 4, result.stderr
    assert "model.safetensors" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_a_truncated_gguf_is_refused(tmp_path: Path) -> None:
    """The import says that the file is cut, and leaves nothing behind."""
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"\x01")
    result = run_cli(tmp_path / "home", "import", str(tmp_path / "cut.gguf"))
    assert result.returncode == 4, result.stderr
    assert "cut.gguf" in result.stderr
    assert "Traceback" not in result.stderr
