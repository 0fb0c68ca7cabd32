"""Files that are no pictures, addresses that lead inside, dead processes, clients gone: the server lives."""

import json
import os
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image
from tests.e2e.seeing import (
    BLIND,
    CHAT,
    DIALECTS,
    FIRST,
    GREEDY,
    MESSAGES,
    RESPONSES,
    SECOND,
    SEEING,
    TOKENS,
    WORDS,
    Body,
    Dialect,
    counted,
    file_of,
    is_idle,
    looked_at,
    png,
    post,
    question,
    said,
    shown,
    state_of,
    text_of,
)
from tests.scaffolding.server import RunningServer, running_server
from tests.scaffolding.timings import hold
from tests.scaffolding.vision_families import picture

pytestmark = pytest.mark.model

MOST_BYTES = 600_000
MOST_PICTURES = 4
CACHE_BYTES = 4_000_000
"""Room for a dozen small pictures, and for none of those that have hundreds of tokens."""

LONGEST_MESSAGE = 600
LONG_TOKENS = 1500
ENDLESS = {"ignore_eos": True}


@pytest.fixture(scope="module")
def strict_server(seeing_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Little is taken, and addresses are fetched, but only public ones."""
    settings = (
        f"media.max_picture_bytes={MOST_BYTES}",
        f"media.max_pictures={MOST_PICTURES}",
        "media.allow_urls=true",
        f"runner.picture_cache_bytes={CACHE_BYTES}",
        "local.restart_backoff_seconds=0.05",
    )
    with running_server(seeing_home, tmp_path_factory.mktemp("strict") / "log", *settings) as server:
        assert sees(server)
        hold(seeing_home)
        yield server


@pytest.fixture
def strict(strict_server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=strict_server.openai_url, api_key="any", max_retries=0) as client:
        yield client


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


# ---------------------------------------------------------------- bad input


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_saying(width: int, height: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG whose header says one thing, whatever its rows are."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


ROWS_OF_100 = (b"\0" + bytes(300)) * 100
JPEG = file_of(picture(*FIRST), "JPEG")
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no data"),
    "half a PNG": (png(*FIRST)[: len(png(*FIRST)) // 2], "cut short"),
    "the head of a PNG": (png(*FIRST)[:20], "cut short"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "cut short"),
    "the head of a JPEG": (JPEG[:20], "cut short"),
    "part of a GIF": (file_of(picture(*FIRST), "GIF")[:60], "cut short"),
    "part of a WebP": (file_of(picture(*FIRST), "WEBP")[:100], "cut short"),
    "a PDF": (b"%PDF-1.7\n1 0 obj", "a PDF"),
    "words": (b"Dear model, I am a picture.", "not begin like a picture"),
    "a web page": (b"<!doctype html><title>404</title>", "a web page"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
    "a video": (b"\0\0\0\x18ftypisom" + bytes(40), "a video"),
    "a PNG in base64 twice": (b"iVBORw0KGgoAAAANSUhEUgAA", "encoded twice"),
    "fewer rows than announced": (png_saying(9000, 9000, ROWS_OF_100), "cut short"),
    "more pixels than there are atoms": (png_saying(2**31 - 1, 2**31 - 1, ROWS_OF_100), "a side of at most"),
    "no pixels": (png_saying(0, 0, ROWS_OF_100), "damaged"),
    "too many pixels": (png_saying(10_001, 10_000, ROWS_OF_100), "100000000"),
    "too many pixels, really there": (file_of(Image.new("1", (11_000, 11_000))), "100000000"),
    "a line": (file_of(Image.new("RGB", (1, 60_000))), "1 x 60000"),
    "a shorter line": (file_of(Image.new("RGB", (1, 16_000))), "usual proportions"),
    "one byte too many": (png(*FIRST).ljust(MOST_BYTES + 1, b"\0"), str(MOST_BYTES)),
    "a damaged header": (png(*FIRST)[:30] + b"\0" + png(*FIRST)[31:], "damaged"),
}


def refused(answer: httpx2.Response, dialect: Dialect, field: str) -> str:
    """The error's message, which names the field and stays short."""
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    message: str = error["message"]
    assert error["type"] == "invalid_request_error"
    assert message.startswith(field)
    if dialect.names_param:
        assert error["param"].startswith(field)
        assert message.startswith(error["param"])
    assert len(message) < LONGEST_MESSAGE
    assert "Traceback" not in message
    return message


def sees(server: RunningServer) -> bool:
    """Whether the next request is answered."""
    return bool(text_of(post(server, CHAT.path, CHAT.body(png(*FIRST)))))


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_a_clear_error_and_the_server_lives(strict_server: RunningServer, name: str) -> None:
    """In three dialects, and where tokens are counted, the error names the part; the next request works."""
    file, words = BAD_FILES[name]
    for dialect in DIALECTS:
        for path in (dialect.path, dialect.counting):
            body = dialect.body(file)
            assert words in refused(post(strict_server, path, body), dialect, dialect.field)
    streamed = post(strict_server, CHAT.path, {**CHAT.body(file), "stream": True})
    assert words in refused(streamed, CHAT, CHAT.field)
    assert sees(strict_server)


def test_no_more_is_unpacked_than_the_header_says(strict_server: RunningServer) -> None:
    """What a file has beyond the pixels that it announces is left alone, however much it would become."""
    few = (b"\0" + bytes(30)) * 10
    texts = [bytes(20_000_000)] * 4
    packed = [chunk(b"zTXt", b"a\0\0" + zlib.compress(text)) for text in texts]
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(texts[0]))
    files = [
        png_saying(10, 10, few),
        png_saying(10, 10, ROWS_OF_100),
        png_saying(10, 10, bytes(200_000_000)),
        png_saying(10, 10, few, profile, *packed),
    ]
    started = time.monotonic()
    answers = [text_of(post(strict_server, CHAT.path, CHAT.body(file))) for file in files]
    assert len(set(answers)) == 1
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("data:image/png;base64,", "no data"),
        ("data:image/png;base64,####", "is not base64"),
        ("data:image/png;base64,iVBORw0KGg" + "!" * 100_000, "is not base64"),
        ("data:image/png;base64,iVBOR", "is not base64"),
        ("data:image/png;base64", "data:image/png;base64,..."),
        ("data:image/png,hello", "not begin like a picture"),
        ("", "http(s)"),
        ("picture.png", "http(s)"),
        ("/etc/passwd", "http(s)"),
        ("file:///etc/passwd", "http(s)"),
        ("ftp://example.com/picture.png", "http(s)"),
        ("javascript:alert(1)", "http(s)"),
        ("x" * 100_000, "http(s)"),
        ("http://", "address"),
        ("http://[::1", "address"),
        ("http://user:word@example.com/picture.png", "user name"),
        ("https://" + "a" * 9000 + ".example/", "not a valid address"),
    ],
    ids=lambda value: value[:32],
)
def test_a_bad_address_is_a_clear_error(strict_server: RunningServer, address: str, words: str) -> None:
    """Base64 that is none, and schemes that are not fetched: refused, in words that stay short."""
    for dialect in DIALECTS:
        body = dialect.body(address)
        assert words in refused(post(strict_server, dialect.path, body), dialect, dialect.field)
    assert sees(strict_server)


def test_wrong_base64_in_messages(strict_server: RunningServer) -> None:
    """Anthropic's dialect has base64 by itself; what is wrong with it is named there too."""
    body = MESSAGES.body(png(*FIRST))
    source = body["messages"][0]["content"][0]["source"]
    for data, words in (("!" * 100_000, "is not base64"), ("iVBOR", "is not base64"), ("", "no data")):
        source["data"] = data
        assert words in refused(post(strict_server, MESSAGES.path, body), MESSAGES, f"{MESSAGES.field}.data")


def test_too_many_pictures(strict_server: RunningServer) -> None:
    """As many as the owner allows are looked at; one more is refused, wherever it stands."""
    files = [png(64, 64, seed) for seed in range(MOST_PICTURES + 1)]
    most = {"model": SEEING, "messages": question(*files[:-1]), "max_tokens": TOKENS, **GREEDY}
    assert text_of(post(strict_server, CHAT.path, most))
    field = f"messages[0].content[{MOST_PICTURES}].image_url.url"
    message = refused(post(strict_server, CHAT.path, {**most, "messages": question(*files)}), CHAT, field)
    assert f"{MOST_PICTURES + 1} pictures" in message
    assert "media.max_pictures" in message
    turns = [turn for file in files for turn in question(file)]
    field = f"messages[{MOST_PICTURES}].content[0].image_url.url"
    assert refused(post(strict_server, CHAT.counting, {"model": SEEING, "messages": turns}), CHAT, field)
    with openai.OpenAI(base_url=strict_server.openai_url, api_key="any", max_retries=0) as client:
        previous = None
        for file in files[:-1]:
            asked: Any = RESPONSES.body(file)["input"]
            response = client.responses.create(
                model=SEEING, input=asked, previous_response_id=previous, max_output_tokens=2
            )
            previous = response.id
        asked = RESPONSES.body(files[-1])["input"]
        with pytest.raises(openai.BadRequestError, match=r"media\.max_pictures"):
            client.responses.create(
                model=SEEING, input=asked, previous_response_id=previous, max_output_tokens=2
            )
    assert sees(strict_server)


def test_a_model_that_does_not_see_says_so(strict_server: RunningServer) -> None:
    """A picture to a model for text is refused before the model is loaded, and names the picture."""
    for dialect in DIALECTS:
        body = dialect.body(png(*FIRST), BLIND)
        for path in (dialect.path, dialect.counting):
            assert "text only" in refused(post(strict_server, path, body), dialect, dialect.field)
    assert state_of(strict_server, BLIND) == {}
    assert sees(strict_server)


def test_a_picture_that_never_fits_says_so(strict_server: RunningServer) -> None:
    """One that needs more than is set aside for pictures is refused by its place, with the way out.

    Not as a prompt that is too long: agents would take that for a reason to shorten the conversation.
    """
    for dialect in DIALECTS:
        answer = post(strict_server, dialect.path, dialect.body(png(900, 700, 3)))
        message = refused(answer, dialect, dialect.field)
        assert "runner.picture_cache_bytes" in message
        assert "prompt is too long" not in message
    assert sees(strict_server)


def test_pictures_stand_where_users_and_tools_speak(strict_server: RunningServer) -> None:
    """One in a message of the system, the developer or the assistant is refused, in three dialects."""
    part = shown(png(*FIRST))
    for role in ("system", "developer", "assistant"):
        turns = [{"role": role, "content": [part, said(WORDS)]}, {"role": "user", "content": WORDS}]
        body = {"model": SEEING, "messages": turns, "max_tokens": 2}
        message = refused(post(strict_server, CHAT.path, body), CHAT, "messages[0].content[0]")
        assert role in message
        items: Body = {"model": SEEING, "input": RESPONSES.body(png(*FIRST))["input"]}
        items["input"][0]["role"] = role
        assert refused(post(strict_server, RESPONSES.path, items), RESPONSES, "input[0].content[0]")
    blocks = MESSAGES.body(png(*FIRST))
    for role in ("system", "assistant"):
        blocks["messages"] = [{**blocks["messages"][0], "role": role}, {"role": "user", "content": WORDS}]
        assert refused(post(strict_server, MESSAGES.path, blocks), MESSAGES, "messages.0.content")
    blocks = {**MESSAGES.body(png(*FIRST)), "system": blocks["messages"][0]["content"]}
    assert refused(post(strict_server, MESSAGES.path, blocks), MESSAGES, "system")
    assert sees(strict_server)


# ---------------------------------------------------------------- addresses


@pytest.fixture(scope="module")
def pictures_host() -> Iterator[tuple[str, list[str]]]:
    """A host on this machine that hands out pictures, and the paths that were asked for so far."""
    asked: list[str] = []
    files = {"/picture": (200, png(*FIRST)), "/page": (200, b"<html>"), "/long": (200, bytes(MOST_BYTES + 1))}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = files.get(self.path, (404, b""))
            self.send_response(302 if self.path == "/moved" else status)
            self.send_header("Location", "/picture")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as host:
        thread = threading.Thread(target=host.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{host.server_address[1]}", asked
        host.shutdown()
        thread.join()


def test_addresses_are_not_fetched_unless_the_owner_says_so(
    seeing_server: RunningServer, pictures_host: tuple[str, list[str]]
) -> None:
    """By default every address is refused, and nobody is asked for anything."""
    host, asked = pictures_host
    for address in (f"{host}/picture", "https://example.com/picture.png", "HTTP://EXAMPLE.COM/"):
        for dialect in DIALECTS:
            message = refused(
                post(seeing_server, dialect.path, dialect.body(address)), dialect, dialect.field
            )
            assert "media.allow_urls" in message
    assert asked == []
    assert sees(seeing_server)


def test_addresses_that_lead_inside_are_refused(
    strict_server: RunningServer, pictures_host: tuple[str, list[str]]
) -> None:
    """However this machine is called, nobody asks it; a name that does not exist gets the same words."""
    host, asked = pictures_host
    port = host.rpartition(":")[2]
    names = (
        "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "10.0.0.1", "169.254.169.254", "nowhere.invalid",
    )  # fmt: skip
    messages: set[str] = set()
    for name in names:
        body = CHAT.body(f"http://{name}:{port}/picture")
        messages.add(refused(post(strict_server, CHAT.path, body), CHAT, CHAT.field))
    assert len(messages) == 1, messages
    assert asked == []
    for dialect in DIALECTS:
        body = dialect.body(f"{host}/picture")
        assert refused(post(strict_server, dialect.path, body), dialect, dialect.field)
    assert asked == []
    assert sees(strict_server)


def test_private_addresses_if_the_owner_says_so(
    seeing_home: Path, tmp_path: Path, pictures_host: tuple[str, list[str]]
) -> None:
    """Then a fetched picture is the same as a sent one; a process that made pictures ready ends when idle."""
    host, asked = pictures_host
    settings = (
        "media.allow_urls=true",
        "media.allow_private_addresses=true",
        f"media.max_picture_bytes={MOST_BYTES}",
        "local.picture_idle_seconds=0.3",
    )
    with running_server(seeing_home, tmp_path / "log", *settings) as server:
        wanted = {text_of(post(server, dialect.path, dialect.body(png(*FIRST)))) for dialect in DIALECTS}
        for path in ("/picture", "/moved"):
            bodies = {dialect.path: dialect.body(host + path) for dialect in DIALECTS}
            wanted |= {text_of(post(server, where, body)) for where, body in bodies.items()}
        assert len(wanted) == 1
        assert set(asked) == {"/picture", "/moved"}
        assert looked_at(server) == 1
        for path, words in (("/page", "a web page"), ("/long", str(MOST_BYTES)), ("/gone", "404")):
            message = refused(post(server, CHAT.path, CHAT.body(host + path)), CHAT, CHAT.field)
            assert words in message
            assert host not in message
        wait_until(lambda: server.picture_pids() == [], seconds=10)
        other = text_of(post(server, CHAT.path, CHAT.body(png(*SECOND))))
        assert other not in wanted
        assert len(server.picture_pids()) == 1
        assert server.get("/health").json()["status"] == "ok"


# ---------------------------------------------------------------- faults


def ticks(pid: int) -> int:
    """How long a process has computed, as the kernel counts."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def kill(*pids: int) -> None:
    """Kill processes, and wait until their parent has heard of it."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def slow_to_decode(width: int, height: int) -> bytes:
    """A short file of very many pixels."""
    return file_of(Image.new("RGB", (width, height)), compress_level=9)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing until the block ends, unless it is killed meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed, which is what the block was for
            os.kill(pid, signal.SIGCONT)


@contextmanager
def asking(server: RunningServer, body: Body) -> Iterator[None]:
    """A client that sends a request and leaves at the end of the block, whatever it got until then."""
    content = json.dumps(body).encode()
    head = (
        f"POST {CHAT.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    host, port = server.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + content)
        yield


def text_stream(client: openai.OpenAI) -> Any:
    """A long answer to words alone."""
    return client.chat.completions.create(
        model=SEEING,
        messages=[{"role": "user", "content": "Go on and on."}],
        max_tokens=LONG_TOKENS,
        temperature=0,
        stream=True,
        extra_body=ENDLESS,
    )


def joined(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def ask(client: openai.OpenAI, *files: bytes) -> str | None:
    answer = client.chat.completions.create(
        model=SEEING,
        messages=question(*files),  # type: ignore[arg-type]
        max_tokens=TOKENS,
        temperature=0,
    )
    return answer.choices[0].message.content


@pytest.fixture(scope="module")
def calm(strict_server: RunningServer) -> str:
    """The long answer to words when nothing happens meanwhile."""
    with openai.OpenAI(base_url=strict_server.openai_url, api_key="any", max_retries=0) as client:
        return joined(text_stream(client))


def test_the_picture_process_dies_between_requests(
    strict_server: RunningServer, strict: openai.OpenAI, calm: str
) -> None:
    """The next picture waits for the next process, and streams of words notice nothing."""
    assert ask(strict, png(*FIRST))
    (pid,) = strict_server.picture_pids()
    stream = iter(text_stream(strict))
    begun = joined([next(stream)])
    kill(pid)
    assert state_of(strict_server)["rows"] == 1
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, strict, png(112, 96, 60))
        assert begun + joined(stream) == calm
        assert answer.result(timeout=30)
    (again,) = strict_server.picture_pids()
    assert again != pid


def test_the_picture_process_dies_at_work(
    strict_server: RunningServer, strict: openai.OpenAI, calm: str
) -> None:
    """Who waits for it gets a 503 that says so; the next request works, and streams of words go on."""
    assert ask(strict, png(112, 96, 61))
    slow = CHAT.body(slow_to_decode(8000, 5000))
    (pid,) = strict_server.picture_pids()
    before = ticks(pid)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, strict_server, CHAT.path, slow)
        wait_until(lambda: ticks(pid) > before + 5)
        with stopped(pid):
            stream = iter(text_stream(strict))
            begun = joined([next(stream)])
            os.kill(pid, signal.SIGKILL)
        lost = answer.result(timeout=10)
    assert lost.status_code == 503
    assert lost.json()["error"]["code"] == "model_unavailable"
    assert state_of(strict_server)["rows"] == 1
    assert begun + joined(stream) == calm
    assert ask(strict, png(112, 96, 62))
    assert strict_server.get("/health").json()["status"] == "ok"


def test_the_picture_process_dies_while_the_model_waits_for_it(
    strict_server: RunningServer, strict: openai.OpenAI
) -> None:
    """The request was taken, so its stream ends with the error; nothing stays behind."""
    file = png(112, 96, 63)
    counted(post(strict_server, CHAT.counting, CHAT.body(file)))
    held = state_of(strict_server)["picture_bytes"]
    (pid,) = strict_server.picture_pids()
    with stopped(pid), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, strict_server, CHAT.path, {**CHAT.body(file), "stream": True})
        wait_until(lambda: state_of(strict_server)["requests"] == 1)
        wait_until(lambda: state_of(strict_server)["picture_bytes"] > held)
        os.kill(pid, signal.SIGKILL)
        lost = answer.result(timeout=10)
    assert "stopped unexpectedly" in lost.text
    assert "[DONE]" not in lost.text
    wait_until(lambda: is_idle(strict_server), seconds=2)
    assert state_of(strict_server)["picture_bytes"] == held
    assert ask(strict, file)


def test_a_client_leaves_while_its_picture_is_looked_at(
    strict_server: RunningServer, strict: openai.OpenAI
) -> None:
    """Whole or streamed: no row, no lease, no place in the queue and no byte for the picture stays."""
    file = png(112, 96, 64)
    counted(post(strict_server, CHAT.counting, CHAT.body(file)))
    held, seen = state_of(strict_server)["picture_bytes"], looked_at(strict_server)
    (pid,) = strict_server.picture_pids()
    for streaming in (True, False):
        with stopped(pid):
            with asking(strict_server, {**CHAT.body(file), "stream": streaming}):
                wait_until(lambda: state_of(strict_server)["picture_bytes"] > held)
            wait_until(lambda: is_idle(strict_server), seconds=2)
            wait_until(lambda: state_of(strict_server)["picture_bytes"] == held, seconds=2)
        assert looked_at(strict_server) == seen
    assert ask(strict, file)
    assert looked_at(strict_server) == seen + 1


def test_a_client_leaves_while_another_waits_for_the_same_picture(
    strict_server: RunningServer, strict: openai.OpenAI
) -> None:
    """Who asked first takes nothing along: the other is answered, and the picture looked at once."""
    file = png(112, 96, 69)
    counted(post(strict_server, CHAT.counting, CHAT.body(file)))
    held, seen = state_of(strict_server)["picture_bytes"], looked_at(strict_server)
    (pid,) = strict_server.picture_pids()
    with ThreadPoolExecutor(1) as pool:
        with stopped(pid):
            with asking(strict_server, CHAT.body(file)):
                wait_until(lambda: state_of(strict_server)["picture_bytes"] > held)
                answer = pool.submit(ask, strict, file)
                wait_until(lambda: state_of(strict_server)["queued"] == 1)
            wait_until(lambda: state_of(strict_server)["requests"] == 1, seconds=2)
        assert answer.result(timeout=10)
    assert looked_at(strict_server) == seen + 1


def test_a_client_leaves_while_its_picture_is_decoded(
    strict_server: RunningServer, strict: openai.OpenAI
) -> None:
    """Nobody holds the model for it, and the next picture is answered."""
    assert ask(strict, png(112, 96, 65))
    (pid,) = strict_server.picture_pids()
    slow = CHAT.body(slow_to_decode(8000, 5001))
    seen, before = looked_at(strict_server), ticks(pid)
    with asking(strict_server, slow):
        wait_until(lambda: ticks(pid) > before + 5)
    assert ask(strict, png(112, 96, 66))
    assert is_idle(strict_server)
    assert looked_at(strict_server) == seen + 1
    assert strict_server.picture_pids() == [pid]


def test_the_model_dies_in_an_answer_about_a_picture(
    strict_server: RunningServer, strict: openai.OpenAI
) -> None:
    """Within two seconds the stream raises; the picture is looked at anew and answered as before."""
    file = png(112, 96, 67)
    wanted = ask(strict, file)
    stream = iter(
        strict.chat.completions.create(
            model=SEEING,
            messages=question(file),  # type: ignore[arg-type]
            max_tokens=LONG_TOKENS,
            temperature=0,
            stream=True,
            extra_body=ENDLESS,
        )
    )
    for _ in range(3):
        next(stream)
    pictures = strict_server.picture_pids()
    (pid,) = strict_server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(openai.APIError, match="stopped unexpectedly"):
        joined(stream)
    assert time.monotonic() - killed < 2.0
    assert ask(strict, file) == wanted
    assert looked_at(strict_server) == 1
    assert strict_server.picture_pids() == pictures
    assert is_idle(strict_server)


def test_the_model_dies_before_it_has_looked(strict_server: RunningServer, strict: openai.OpenAI) -> None:
    """A whole answer that waits is a 503, a stream that was taken ends with the error; then all is well."""
    assert ask(strict, png(*FIRST))
    for streaming in (True, False):
        (pid,) = strict_server.worker_pids()
        with stopped(pid), ThreadPoolExecutor(1) as pool:
            body = {**CHAT.body(png(112, 96, 68)), "stream": streaming}
            answer = pool.submit(post, strict_server, CHAT.path, body)
            wait_until(lambda: lent(strict_server) == 1)
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            lost = answer.result(timeout=10)
        assert time.monotonic() - killed < 2.0
        assert "stopped unexpectedly" in lost.text
        assert "[DONE]" not in lost.text
        assert ask(strict, png(112, 96, 68))
        assert is_idle(strict_server)


def lent(server: RunningServer) -> int:
    """How many requests hold the model, without asking it."""
    models: list[Body] = server.get("/health").json()["models"]
    return next(model["requests"] for model in models if model["name"] == SEEING)


def test_both_die(strict_server: RunningServer, strict: openai.OpenAI) -> None:
    """A picture whose place in the prompt is still known is prepared and looked at anew."""
    wanted = ask(strict, png(*FIRST))
    pids = [*strict_server.picture_pids(), *strict_server.worker_pids()]
    kill(*pids)
    assert ask(strict, png(*FIRST)) == wanted
    assert strict_server.get("/health").json()["status"] == "ok"
    assert "Traceback" not in strict_server.log.read_text()
