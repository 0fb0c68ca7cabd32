"""Whatever is done to a picture file, it is decoded or refused, soon, and in words."""

import io
import time

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from allod.core.pictures import PictureRefused
from allod.media.bare import bare
from allod.media.decode import decode
from allod.media.settings import Limits
from allod.media.sniff import kind_of

LIMITS = Limits(max_side_pixels=2000, max_file_pixels=1_000_000)


def _saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    image = Image.effect_noise((24, 16), 80).convert(mode)
    if options.get("save_all"):
        options["append_images"] = [Image.new(mode, (24, 16))]
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


_EXIF = Image.Exif()
_EXIF[0x0112] = 6
FILES = [
    _saved("PNG", exif=_EXIF),
    _saved("PNG", "LA"),
    _saved("PNG", "P", transparency=0),
    _saved("PNG", "I;16"),
    _saved("PNG", "RGBA", save_all=True),
    _saved("JPEG", exif=_EXIF),
    _saved("JPEG", "CMYK"),
    _saved("JPEG", progressive=True),
    _saved("WEBP", exif=_EXIF),
    _saved("WEBP", "RGBA", lossless=True),
    _saved("WEBP", save_all=True),
    _saved("GIF", "P", transparency=0, save_all=True),
    *([_saved("AVIF", exif=_EXIF)] if features.check("avif") else []),
]
HEADS = [b"", *(file[:16] for file in FILES)]


def decoded(data: bytes) -> Image.Image | str:
    try:
        return decode(data, LIMITS)
    except PictureRefused as refusal:
        return refusal.sentence


def checked(data: bytes) -> None:
    """An RGB picture within the limits, or a sentence; soon, even on a busy machine."""
    started = time.monotonic()
    found = decoded(data)
    assert time.monotonic() - started < 5
    if isinstance(found, str):
        assert 20 < len(found) < 300
        assert "; " in found
    else:
        assert found.mode == "RGB"
        assert 1 <= max(found.size) <= LIMITS.max_side_pixels
        assert found.width * found.height <= LIMITS.max_file_pixels


@given(head=st.sampled_from(HEADS), data=st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(head: bytes, data: bytes) -> None:
    """Also those that begin like a picture."""
    checked(head + data)


@given(file=st.sampled_from(FILES), at=st.floats(0, 1))
def test_any_truncation_is_decoded_or_refused(file: bytes, at: float) -> None:
    """A file may end anywhere."""
    checked(file[: int(at * len(file))])


@given(
    file=st.sampled_from(FILES),
    flips=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4),
    near_head=st.booleans(),
)
def test_any_flipped_byte_is_decoded_or_refused(
    file: bytes, flips: list[tuple[int, int]], *, near_head: bool
) -> None:
    """Any bytes may be others, more often in the headers."""
    damaged = bytearray(file)
    for at, value in flips:
        damaged[at % min(len(file), 200 if near_head else len(file))] = value
    checked(bytes(damaged))


@given(
    file=st.sampled_from(FILES),
    start=st.integers(0, 5000),
    length=st.integers(0, 60),
    patch=st.binary(max_size=60),
)
def test_any_splice_is_decoded_or_refused(file: bytes, start: int, length: int, patch: bytes) -> None:
    """Pieces may be missing, doubled or strange."""
    start %= len(file)
    checked(file[:start] + patch + file[start + length :])


@given(file=st.sampled_from(FILES))
def test_leaving_out_metadata_changes_no_pixel(file: bytes) -> None:
    """The reduced file is the same picture, and reducing it again changes nothing."""
    kind = kind_of(file)
    assert kind is not None
    reduced = bare(kind, file)
    assert bare(kind, reduced.data).data == reduced.data
    with Image.open(io.BytesIO(file)) as whole, Image.open(io.BytesIO(reduced.data)) as small:
        assert whole.convert("RGBA").tobytes() == small.convert("RGBA").tobytes()
        assert reduced.size in (None, whole.size)
