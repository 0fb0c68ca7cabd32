"""A file reduced to what its picture needs, and what it announces about itself.

Decoders read metadata eagerly, and there are files whose metadata costs more than any picture: thousands of
colour profiles, each a megabyte once it is unpacked. None of it is wanted but the orientation.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from allod.core.pictures import PictureRefused

_MOST_PARTS = 50_000
_MOST_SCANS = 100

_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_START_OF_SCAN, _END_OF_IMAGE, _EXIF_SEGMENT = 0xDA, 0xD9, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_METADATA = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}
"""Application segments and comments, but for the two that tell how colours are stored."""
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_EXIF = b"Exif\0\0"
_ORIENTATION_TAG, _LONG = 0x0112, 4
_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


@dataclass(frozen=True, slots=True)
class Bare:
    """What goes to the decoder.

    Attributes:
        data: the file, without metadata where that is easily left out.
        size: width and height in pixels, as announced; None where only the decoder can tell.
        exif: the file's EXIF block; empty where there is none or only the decoder finds it.
    """

    data: bytes
    size: tuple[int, int] | None = None
    exif: bytes = b""


def bare(kind: str, data: bytes) -> Bare:
    """The file as a decoder should see it.

    Args:
        kind: as `sniff.kind_of` names it.
        data: the file.

    Raises:
        PictureRefused: it has parts without end.
        struct.error: it is cut short.
    """
    match kind:
        case "png":
            return _png(data)
        case "jpeg":
            return _jpeg(data)
        case "gif":
            return Bare(data, struct.unpack_from("<HH", data, 6))
        case "webp":
            return Bare(data, _webp_size(data))
        case _:
            return Bare(data)


def orientation_in(exif: bytes) -> int:
    """How a picture lies, 1 to 8 as EXIF counts; 1, which is upright, where that cannot be read."""
    tiff = exif.removeprefix(_EXIF)
    order = _TIFF_ORDERS.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, form = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                (value,) = struct.unpack_from(f"{order}{'I' if form == _LONG else 'H'}", tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # software that shortens files leaves such blocks behind; viewers show the picture as it lies
    return 1


def _png(data: bytes) -> Bare:
    """Without text, profiles and further frames. What is cut short stays so, for the decoder to refuse."""
    kept, exif = [data[:8]], b""
    position = 8
    for _ in range(_MOST_PARTS):
        if position + 12 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        name = data[position + 4 : position + 8]
        if name in _PNG_CHUNKS:
            kept.append(data[position:end])
        elif name == b"eXIf":
            exif = exif or data[position + 8 : end - 4]
        position = end
        if name == b"IEND":
            break
    else:
        raise _too_many_parts()
    return Bare(b"".join(kept), struct.unpack_from(">II", data, 16), exif)


def _jpeg(data: bytes) -> Bare:
    kept, exif = [data[:2]], b""
    size: tuple[int, int] | None = None
    first_scan = scans = 0
    for marker, start, end in _jpeg_segments(data):
        if marker == _START_OF_SCAN:
            scans += 1
            first_scan = first_scan or start
        elif first_scan:
            continue
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 5)
            size = width, height
        elif marker == _EXIF_SEGMENT and data[start + 4 : start + 10] == _EXIF:
            exif = exif or data[start + 4 : end]
        if not first_scan and marker not in _JPEG_METADATA:
            kept.append(data[start:end])
    if scans > _MOST_SCANS:
        raise PictureRefused(
            f"is a JPEG in {scans} scans, and at most {_MOST_SCANS} are decoded; "
            "save it anew as an ordinary JPEG"
        )
    kept.append(data[first_scan:] if first_scan else b"")
    return Bare(b"".join(kept), size, exif)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the end of the image, by the decoder's own rules."""
    position = 2
    for _ in range(_MOST_PARTS):
        found = _MARKER.search(data, position)
        if found is None or found[0][1] == _END_OF_IMAGE:
            return
        (length,) = struct.unpack_from(">H", data, found.end())
        position = found.end() + length
        yield found[0][1], found.start(), position
    raise _too_many_parts()


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """The canvas, for which the library takes memory as soon as it sees the file."""
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
            return width, height
        case _:
            return None


def _too_many_parts() -> PictureRefused:
    return PictureRefused(
        f"is a file of more than {_MOST_PARTS} parts; save it anew as an ordinary PNG or JPEG"
    )
