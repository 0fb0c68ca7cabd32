"""Pictures in `allod chat`: which words are paths of them, and what a server on loopback is sent."""

import base64
import http.server
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from allod.cli import pictures
from allod.cli.exits import ExitCode
from allod.core.errors import ConfigurationError
from allod.media.settings import MediaSettings

Run = Callable[..., Any]

PNG = b"\x89PNG\r\n\x1a\n and the rest"
JPEG = b"\xff\xd8\xff and the rest"
TIFF = b"II*\0 and the rest"
SMALL = MediaSettings(max_picture_bytes=1024)


class Stub(http.server.ThreadingHTTPServer):
    """Offers the model `m` and says `Aha` to everything, or refuses it; keeps the messages."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[list[dict[str, Any]]] = []
        self.refusal: tuple[int, str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    @property
    def stub(self) -> Stub:
        assert isinstance(self.server, Stub)
        return self.server

    def do_GET(self) -> None:
        self._answer(200, b'{"object":"list","data":[{"id":"m"}]}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.stub.asked.append(body["messages"])
        if self.stub.refusal is not None:
            status, message = self.stub.refusal
            self._answer(status, json.dumps({"error": {"message": message}}).encode())
        else:
            chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "Aha"}}]})
            self._answer(200, f"data: {chunk}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two pictures, one of them under a misleading name, and other files."""
    place = tmp_path / "desk"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    (place / "photo.png").write_bytes(PNG)
    (place / "my shot.png").write_bytes(JPEG)
    (place / "notes.txt").write_bytes(b"words")
    (place / "scan.tiff").write_bytes(TIFF)
    (place / "empty.png").write_bytes(b"")
    (place / "folder.png").mkdir()
    return place


@pytest.fixture
def talk(allod: Run, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `allod chat` against the stub, with these lines on stdin."""

    def call(*words: str, stdin: str = "") -> Any:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return allod("chat", "--base-url", stub.url, *words)

    return call


def uri(kind: str, data: bytes) -> dict[str, Any]:
    address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": address}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


PHOTO, SHOT = uri("png", PNG), uri("jpeg", JPEG)


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("What is this?",), "What is this?"),
        (("m", "photo.png", "What", "is", "this?"), [PHOTO, text("What is this?")]),
        (("photo.png", "my shot.png", "Compare", "these"), [PHOTO, SHOT, text("Compare these")]),
        (("Is", "photo.png", "or", "./my shot.png", "nicer"), None),
        (
            ("-i", "photo.png", "--image=~/my shot.png", "Compare", "these"),
            [PHOTO, SHOT, text("Compare these")],
        ),
        (("What", "is", "in", "notes.txt"), "What is in notes.txt"),
        (("See missing.png for more",), "See missing.png for more"),
        (("--", "photo.png", "missing.png"), "photo.png missing.png"),
        (("photo.png", "--", "What", "is", "missing.png"), [PHOTO, text("What is missing.png")]),
        (("--", "m", "photo.png"), "photo.png"),
        (("word " * 1000,), "word " * 1000),
    ],
)
def test_words_that_are_paths_of_pictures_are_sent_as_pictures(
    talk: Run, stub: Stub, folder: Path, words: tuple[str, ...], sent: object
) -> None:
    """A path is a picture where it stands, of the kind its bytes say; other words stay words."""
    ended = talk(*words)
    assert (ended.code, ended.out, ended.err) == (0, "Aha\n", "")
    if sent is None:
        sent = [text("Is"), PHOTO, text("or"), SHOT, text("nicer")]
    assert stub.asked == [[{"role": "user", "content": sent}]]


def test_a_hyphen_reads_the_prompt_beside_a_picture(talk: Run, stub: Stub, folder: Path) -> None:
    """The words may come from stdin; they are words, also where they name a picture."""
    talk("photo.png", "-", stdin="photo.png")
    assert stub.asked == [[{"role": "user", "content": [PHOTO, text("photo.png")]}]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("missing.png", "What?"),
            "missing.png: the picture cannot be read: No such file or directory; to send",
        ),
        (("What is", "MISSING.JPG"), "quote it within a longer sentence or put it after `--`"),
        (("scan.tiff", "What?"), "scan.tiff: looks like a TIFF; send a PNG, JPEG, WebP or GIF"),
        (("empty.png", "What?"), "empty.png: is empty"),
        (("folder.png", "What?"), "folder.png: the picture cannot be read: Is a directory"),
        (("--image", "notes.txt", "What?"), "notes.txt: does not begin like a picture"),
        (
            ("--image", "~nobody-of-this-name/photo.png", "What?"),
            "~nobody-of-this-name/photo.png: the picture",
        ),
        (("--image", "\0", "What?"), "the picture cannot be read"),
    ],
)
def test_what_cannot_be_a_picture_is_said_before_anything_is_sent(
    talk: Run, stub: Stub, folder: Path, words: tuple[str, ...], message: str
) -> None:
    """A path without a picture is a mistake of the command line, and the way out is told."""
    ended = talk(*words)
    assert (ended.code, ended.out) == (ExitCode.USAGE, "")
    assert message in ended.err
    assert stub.asked == []


def test_a_picture_that_is_too_long_is_not_sent(talk: Run, stub: Stub, folder: Path) -> None:
    """The limit is the server's setting, and the message has both sizes."""
    (folder / "large.png").write_bytes(PNG + bytes(2**21))
    ended = talk("large.png", "What?", "--set", "media.max_picture_bytes=1MiB")
    assert (ended.code, stub.asked) == (ExitCode.USAGE, [])
    assert "large.png: is 2 MiB long, and at most 1 MiB are sent" in ended.err
    assert MediaSettings().max_picture_bytes == 20 * 2**20


@pytest.mark.parametrize(
    "line",
    [
        "/image photo.png",
        "/image  ~/photo.png ",
        "/image 'photo.png'",
        "photo.png",
        " ~/photo.png ",
        '"photo.png"',
    ],
)
def test_a_picture_goes_along_with_the_next_question(talk: Run, stub: Stub, folder: Path, line: str) -> None:
    """It is said to be there, and stays in the conversation with the question that it came with."""
    ended = talk(stdin=f"{line}\nWhat is this?\nAnd what else?\n")
    assert (ended.out, ended.err) == ("Aha\nAha\n", "[photo.png, 21 B, attached; ask about it]\n")
    first = {"role": "user", "content": [PHOTO, text("What is this?")]}
    aha = {"role": "assistant", "content": "Aha"}
    assert stub.asked == [[first], [first, aha, {"role": "user", "content": "And what else?"}]]


@pytest.mark.parametrize(
    "line",
    ["/image my shot.png", r"/image my\ shot.png", r"my\ shot.png ", "'my shot.png'", "my shot.png"],
)
def test_paths_with_spaces(talk: Run, stub: Stub, folder: Path, line: str) -> None:
    """A path may be typed as it is, quoted, or come as terminals write what is dropped on them."""
    talk(stdin=f"{line}\nWhat is this?\n")
    assert stub.asked[0][0]["content"] == [SHOT, text("What is this?")]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("photo.png", "my shot.png"), ""),
        ((), "photo.png 'my shot.png'\n"),
        (("-i", "photo.png"), "my shot.png\n"),
    ],
)
def test_pictures_without_words_wait_for_the_first_question(
    talk: Run, stub: Stub, folder: Path, words: tuple[str, ...], lines: str
) -> None:
    """On the command line and in a conversation they gather, in their order."""
    ended = talk(*words, stdin=f"{lines}Compare these\n")
    assert ended.err.count("attached; ask about it") == 2
    assert stub.asked[0][0]["content"] == [PHOTO, SHOT, text("Compare these")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/image", "write /image PATH"),
        ("/image missing.png", "missing.png: the picture cannot be read"),
        ("/image 'missing.png", "'missing.png: the picture cannot be read"),
        ("/image notes.txt", "notes.txt: does not begin like a picture"),
        ("missing.png", "to send it as words, write them into a longer sentence"),
        ("scan.tiff", "scan.tiff: looks like a TIFF"),
    ],
)
def test_a_conversation_goes_on_after_a_wrong_path(
    talk: Run, stub: Stub, folder: Path, line: str, message: str
) -> None:
    """The line is not sent as a question, and the next one is."""
    ended = talk(stdin=f"{line}\nhello\n")
    assert (ended.code, ended.out) == (0, "Aha\n")
    assert message in ended.err
    assert stub.asked == [[{"role": "user", "content": "hello"}]]


@pytest.mark.parametrize(
    "line", ["What's in photo.png?", "notes.txt", "/images are nice", "photo.png is nice", "can't"]
)
def test_a_line_with_more_than_a_path_is_words(talk: Run, stub: Stub, folder: Path, line: str) -> None:
    """In a conversation only a line that is a path alone, or `/image`, shows a picture."""
    assert talk(stdin=f"{line}\n").err == ""
    assert stub.asked == [[{"role": "user", "content": line}]]


def test_a_refused_picture_does_not_spoil_the_conversation(talk: Run, stub: Stub, folder: Path) -> None:
    """The server's words are shown, and the pictures leave with their question."""
    stub.refusal = (400, "the model 'm' reads text only")
    ended = talk("photo.png", stdin="What is this?\nhello\n")
    assert "allod: the model 'm' reads text only\n" in ended.err
    assert ended.err.count("the pictures are not kept") == 1
    assert stub.asked[1] == [{"role": "user", "content": "hello"}]


def test_one_question_shows_the_servers_refusal(talk: Run, stub: Stub, folder: Path) -> None:
    """As for a question without pictures."""
    stub.refusal = (400, "content[0]: too many pixels")
    ended = talk("photo.png", "What?")
    assert (ended.code, ended.err) == (ExitCode.FAILED, "allod: content[0]: too many pixels\n")


def test_a_path_is_read_no_further_than_the_limit(folder: Path) -> None:
    """One byte more than the limit is enough to know."""
    (folder / "exact.png").write_bytes(PNG.ljust(1024, b"\0"))
    assert len(pictures.read("exact.png", SMALL).file) == 1024
    with pytest.raises(ConfigurationError, match="at most 1 KiB are sent"):
        pictures.read("/dev/zero", SMALL)
