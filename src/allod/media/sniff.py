"""What kind of file some bytes are, by how they begin. What the client calls them counts for nothing."""

from allod.core.errors import refused
from allod.media.settings import MediaSettings

SEND_INSTEAD = "send a PNG, JPEG, WebP or GIF"

READABLE = frozenset({"png", "jpeg", "webp", "gif", "avif", "heic"})
"""Kinds that are decoded; the last two only where the library can."""

HEAD_BYTES = 1024
"""How much of a file decides what it is."""

_MAGIC = (
    ("png", b"\x89PNG\r\n\x1a\n"),
    ("jpeg", b"\xff\xd8\xff"),
    ("gif", b"GIF87a"),
    ("gif", b"GIF89a"),
    ("tiff", b"II*\0"),
    ("tiff", b"MM\0*"),
    ("tiff", b"II+\0"),
    ("tiff", b"MM\0+"),
    ("jxl", b"\xff\x0a"),
    ("jxl", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ("jp2", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("ico", b"\0\0\1\0"),
    ("psd", b"8BPS"),
    ("pdf", b"%PDF-"),
    ("zip", b"PK\x03\x04"),
    ("gzip", b"\x1f\x8b"),
    ("video", b"\x1aE\xdf\xa3"),
    ("bmp", b"BM"),
    ("base64", b"iVBORw0KGgo"),
    ("base64", b"/9j/"),
    ("base64", b"R0lGODdh"),
    ("base64", b"R0lGODlh"),
    ("base64", b"UklGR"),
    ("base64", b"data:image/"),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_CONTAINER_BRANDS = frozenset({b"mif1", b"msf1"})
_NAMES = {
    "png": "a PNG",
    "jpeg": "a JPEG",
    "webp": "a WebP",
    "gif": "a GIF",
    "avif": "an AVIF",
    "heic": "a HEIC",
    "tiff": "a TIFF",
    "jxl": "a JPEG XL",
    "jp2": "a JPEG 2000",
    "ico": "an icon",
    "psd": "a Photoshop file",
    "pdf": "a PDF",
    "zip": "a zip archive",
    "gzip": "a gzip archive",
    "video": "a video",
    "bmp": "a BMP",
    "svg": "an SVG",
    "html": "a web page",
    "base64": "base64 text, so the picture is encoded twice",
}


def kind_of(data: bytes) -> str | None:
    """A short word such as `png`, `heic` or `pdf`; None for what begins like nothing known."""
    head = data[:HEAD_BYTES]
    for kind, magic in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF":
        return "webp" if head[8:12] == b"WEBP" else None
    if head[4:8] == b"ftyp":
        return _kind_of_boxes(head)
    return _kind_of_markup(head)


def name_of(kind: str) -> str:
    """A kind in words, with its article, such as `a PDF`."""
    return _NAMES[kind]


def require_file(picture_bytes: bytes, field: str, settings: MediaSettings) -> None:
    """Refuse what cannot be a picture, before anybody decodes it.

    Args:
        picture_bytes: the file.
        field: where it stands in the request; the error names it.
        settings: how long it may be.

    Raises:
        InvalidRequest: it is empty, too long, or not of a kind that is decoded.
    """
    if not picture_bytes:
        raise refused(field, f"is empty; {SEND_INSTEAD}")
    if len(picture_bytes) > settings.max_picture_bytes:
        raise refused(
            field,
            f"is a file of {len(picture_bytes)} bytes, and at most {settings.max_picture_bytes} are read; "
            "send the picture smaller or more strongly compressed",
        )
    kind = kind_of(picture_bytes)
    if kind is None:
        raise refused(field, f"does not begin like a picture of any kind; {SEND_INSTEAD}")
    if kind not in READABLE:
        raise refused(field, f"looks like {name_of(kind)}; {SEND_INSTEAD}")


def _kind_of_boxes(head: bytes) -> str:
    """The first brand decides, unless it only says that this is a container for still pictures."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))]
    named = brands if brands[0] in _CONTAINER_BRANDS else brands[:1]
    if not _AVIF_BRANDS.isdisjoint(named):
        return "avif"
    if brands[0] in _HEIC_BRANDS | _CONTAINER_BRANDS:
        return "heic"
    return "video"


def _kind_of_markup(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not text.startswith(b"<"):
        return None
    if b"<svg" in text:
        return "svg"
    return "html" if text.startswith((b"<!doctype html", b"<html")) else None
