"""What a file is, its first bytes say; what cannot be a picture goes no further."""

import subprocess
import sys

import pytest

from allod.core.errors import InvalidRequest
from allod.media.settings import MediaSettings
from allod.media.sniff import READABLE, kind_of, name_of, require_file

SETTINGS = MediaSettings(max_picture_bytes=2000)
FIELD = "messages[0].content[1].image_url.url"


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"GIF90a", None),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (ftyp(b"avif", b"mif1"), "avif"),
        (ftyp(b"mif1", b"miaf", b"avif"), "avif"),
        (ftyp(b"heic", b"mif1"), "heic"),
        (ftyp(b"mif1", b"heic"), "heic"),
        (ftyp(b"heic", b"avif"), "heic"),
        (ftyp(b"isom", b"mp41"), "video"),
        (b"BM\x36", "bmp"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"<svg xmlns=", "svg"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x --><SVG>', "svg"),
        (b"<!DOCTYPE html><p>", "html"),
        (b"<?xml version='1.0'?><feed>", None),
        (b"%PDF-1.7", "pdf"),
        (b"PK\x03\x04", "zip"),
        (b"\xff\x0a", "jxl"),
        (b"iVBORw0KGgoAAAANSUhEUg", "base64"),
        (b"\x89PN", None),
        (b"\0\0\0\x08ftyp", "video"),
        (b"", None),
        (b"hello", None),
    ],
)
def test_a_kind_follows_from_the_first_bytes(data: bytes, kind: str | None) -> None:
    """Magic bytes alone decide, and every kind has a name with its article."""
    assert kind_of(data) == kind
    if kind is not None:
        assert name_of(kind).startswith(("a ", "an ", "base64"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty; send a PNG, JPEG, WebP or GIF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1993), "is a file of 2001 bytes, and at most 2000 are read"),
        (b"%PDF-1.7", "looks like a PDF; send a PNG, JPEG, WebP or GIF"),
        (b"iVBORw0KGgo=", "looks like base64 text, so the picture is encoded twice; send"),
        (b"hello", "does not begin like a picture of any kind; send a PNG, JPEG, WebP or GIF"),
    ],
)
def test_a_refusal_names_the_field_the_fault_and_the_way_out(data: bytes, words: str) -> None:
    """It is an InvalidRequest whose param is where the picture stands."""
    with pytest.raises(InvalidRequest) as caught:
        require_file(data, FIELD, SETTINGS)
    assert caught.value.param == FIELD
    assert caught.value.message.startswith(f"{FIELD}: {words}")


def test_what_may_be_a_picture_passes() -> None:
    """Every readable kind goes on, up to the last allowed byte."""
    require_file(b"\x89PNG\r\n\x1a\n" + bytes(1992), FIELD, SETTINGS)
    assert {"png", "jpeg", "webp", "gif", "avif", "heic"} == READABLE


def test_the_gateway_part_of_the_room_does_without_the_decoder() -> None:
    """Sniffing, data URIs, fetching and settings import neither Pillow nor numpy."""
    script = (
        "import sys, allod.media.sniff, allod.media.fetch, allod.media.settings;"
        "print('PIL' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
