import hashlib
import random
from pathlib import Path

import pytest

from allod.core.errors import ImportRefused
from allod.registry.download import Digest, RemoteFile, download
from allod.registry.progress import Progress, ignore_progress

CONTENT = random.Random(7).randbytes(300_000)


def remote_at(url: str, content: bytes = CONTENT, **headers: str) -> RemoteFile:
    return RemoteFile(
        url, "the file", len(content), Digest("sha256", hashlib.sha256(content).hexdigest()), headers
    )


def fetch(remote: RemoteFile, target: Path) -> list[float]:
    pauses: list[float] = []
    download(remote, target, ignore_progress, pauses.append)
    return pauses


@pytest.fixture
def remote(stub) -> RemoteFile:
    stub.serve("/f", CONTENT)
    return remote_at(f"{stub.url}/f", authorization="Bearer x")


def test_a_file_arrives_and_nothing_else_stays(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """The content is right, progress ends at the size, and no part is left."""
    seen: list[Progress] = []
    download(remote, tmp_path / "f", seen.append)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (seen[-1].done, seen[-1].total) == (len(CONTENT), len(CONTENT))
    assert stub.requests[0][2]["authorization"] == "Bearer x"


@pytest.mark.parametrize("seed", range(5))
def test_cuts_are_continued_where_they_happened(remote: RemoteFile, tmp_path: Path, stub, seed: int) -> None:
    """However often the connection breaks, as long as bytes come the file becomes whole."""
    chance = random.Random(seed)
    stub.answers["/f"].cuts += [chance.randrange(1, 40_000) for _ in range(6)]
    fetch(remote, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(stub.requests) == 7
    begins = [int(headers["range"].removeprefix("bytes=").rstrip("-")) for _, _, headers in stub.requests[1:]]
    assert begins == sorted(begins)
    assert begins[0] > 0


def test_three_retries_that_bring_nothing_are_the_end(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """A dead server is left after four tries, with growing pauses; what had come is kept."""
    stub.answers["/f"].cuts += [1000, 0, 0, 0, 0]
    pauses: list[float] = []
    with pytest.raises(ImportRefused, match=r"after 1000 of 300000 bytes.*will be continued"):
        download(remote, tmp_path / "f", ignore_progress, pauses.append)
    assert len(stub.requests) == 5
    assert pauses == sorted(pauses)
    assert (tmp_path / "f.part").read_bytes() == CONTENT[:1000]
    fetch(remote, tmp_path / "f")
    assert stub.requests[-1][2]["range"] == "bytes=1000-"
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """A 200 to a range request is the whole file, not its rest."""
    (tmp_path / "f.part").write_bytes(b"old")
    stub.answers["/f"].takes_ranges = False
    fetch(remote, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_refused_range_starts_again(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """After a 416 the file is fetched from its first byte."""
    (tmp_path / "f.part").write_bytes(b"old")
    stub.answers["/f"].statuses.append(416)
    fetch(remote, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert "range" not in stub.requests[-1][2]


def test_a_range_from_another_place_starts_again(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """A 206 that begins elsewhere than asked is not appended."""
    (tmp_path / "f.part").write_bytes(CONTENT[:10])
    stub.serve("/f", CONTENT[5:], status=206, headers={"Content-Range": "bytes 5-299999/300000"})
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        stub.serve("/f", CONTENT)

    download(remote, tmp_path / "f", ignore_progress, pause)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(paused) == 1


def test_a_server_that_is_busy_is_asked_again(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """503 and 429 pass; the file arrives."""
    stub.answers["/f"].statuses += [503, 429]
    assert len(fetch(remote, tmp_path / "f")) == 2


@pytest.mark.parametrize(("status", "said"), [(404, "removed"), (401, "hf auth login"), (403, "gated")])
def test_an_answer_that_will_not_change_is_final(
    remote: RemoteFile, tmp_path: Path, stub, status: int, said: str
) -> None:
    """No retry where none helps; the message says the status and the way out."""
    stub.answers["/f"].status = status
    with pytest.raises(ImportRefused, match=rf"{status}.*{said}"):
        fetch(remote, tmp_path / "f")
    assert len(stub.requests) == 1


def test_a_web_page_is_not_a_file(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """A login page is refused as what it is, and what had come before it stays."""
    (tmp_path / "f.part").write_bytes(CONTENT[:10])
    stub.serve(
        "/f", b"<html>log in</html>", headers={"Content-Type": "text/html; charset=utf-8"}, takes_ranges=False
    )
    with pytest.raises(ImportRefused, match="web page"):
        fetch(remote, tmp_path / "f")
    assert (tmp_path / "f.part").read_bytes() == CONTENT[:10]


def test_a_wrong_hash_deletes_the_file(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """Bytes of another file are neither used nor kept."""
    stub.answers["/f"].body = CONTENT[:-1] + b"?"
    with pytest.raises(ImportRefused, match="sha256 differs"):
        fetch(remote, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_a_longer_file_is_refused_as_soon_as_it_is(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """A server cannot fill the disk with more than was announced."""
    stub.answers["/f"].body = CONTENT * 20
    with pytest.raises(ImportRefused, match="longer than the 300000 bytes"):
        fetch(remote, tmp_path / "f")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_whole_part_is_not_fetched_again(remote: RemoteFile, tmp_path: Path, stub) -> None:
    """A part of the full size only needs its check; one that is too long starts again."""
    (tmp_path / "f.part").write_bytes(CONTENT)
    fetch(remote, tmp_path / "f")
    assert stub.requests == []
    (tmp_path / "f").unlink()
    (tmp_path / "f.part").write_bytes(CONTENT + b"x")
    fetch(remote, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    """A refused connection ends with the way out, not with a stack of the library's errors."""
    with pytest.raises(ImportRefused, match="check the connection"):
        fetch(remote_at("http://127.0.0.1:9/f"), tmp_path / "f")


def test_local_files_are_copied_and_checked(tmp_path: Path) -> None:
    """A file URL, spaces included, gives the same guarantees."""
    source = tmp_path / "a b.whl"
    source.write_bytes(CONTENT)
    fetch(remote_at(source.as_uri()), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    source.write_bytes(CONTENT[:-1])
    with pytest.raises(ImportRefused, match="deleted"):
        fetch(remote_at(source.as_uri()), tmp_path / "g")
    source.unlink()
    with pytest.raises(ImportRefused, match="is not a file"):
        fetch(remote_at(source.as_uri()), tmp_path / "h")


def test_two_processes_do_not_write_one_file(remote: RemoteFile, tmp_path: Path) -> None:
    """Who comes second while the first is at work is refused."""
    errors: list[str] = []

    def second(progress: Progress) -> None:
        if not errors:
            with pytest.raises(ImportRefused) as caught:
                download(remote, tmp_path / "f", ignore_progress)
            errors.append(caught.value.message)

    download(remote, tmp_path / "f", second)
    assert "another process" in errors[0]


def test_a_git_blob_hash_has_its_prefix(tmp_path: Path) -> None:
    """The hash that git gives the text `hello` with a line end is the known one."""
    path = tmp_path / "f"
    path.write_bytes(b"hello\n")
    assert Digest("sha1", "ce013625030ba8dba906f756967f9e9ca394464a", b"blob 6\0").fits(path)
