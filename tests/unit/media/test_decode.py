"""Files become upright RGB over white, or a sentence; what would cost too much is refused unopened."""

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from allod.core.pictures import PictureRefused
from allod.media.bare import bare, orientation_in
from allod.media.decode import decode, scaled
from allod.media.settings import Limits, MediaSettings

LIMITS = Limits.of(MediaSettings())
SMALL = Limits(max_side_pixels=100, max_file_pixels=5000)
AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
BLUE, RED, WHITE = (0, 0, 255), (255, 0, 0), (255, 255, 255)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def plain(mode: str = "RGB", size: tuple[int, int] = (8, 6), color: object = BLUE) -> Image.Image:
    return Image.new(mode, size, color)  # pyright: ignore[reportArgumentType] -- as many numbers as the mode has


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, *, depth: int = 8, color: int = 0, rows: bytes = b"", extra: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def jpeg_with(segments: bytes, image: Image.Image | None = None) -> bytes:
    file = saved(image or plain(), "JPEG")
    return file[:2] + segments + file[2:]


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(PictureRefused) as caught:
        decode(data, limits)
    return caught.value.sentence


def near(pixel: object, wanted: tuple[int, int, int], by: int = 6) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= by for a, b in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", pytest.param("AVIF", marks=AVIF)])
def test_every_form_becomes_rgb(form: str) -> None:
    """Size and colour survive, whatever the file is."""
    image = decode(saved(plain(size=(31, 17)), form), LIMITS)
    assert (image.mode, image.size) == ("RGB", (31, 17))
    assert near(image.getpixel((15, 8)), BLUE)


@pytest.mark.parametrize(
    ("mode", "color", "form", "wanted"),
    [
        ("L", 77, "PNG", (77, 77, 77)),
        ("1", 1, "PNG", WHITE),
        ("P", 0, "PNG", (0, 0, 0)),
        ("LA", (0, 0), "PNG", WHITE),
        ("LA", (100, 255), "PNG", (100, 100, 100)),
        ("RGBA", (0, 0, 255, 0), "PNG", WHITE),
        ("RGBA", (0, 0, 255, 128), "PNG", (127, 127, 255)),
        ("RGBA", (0, 0, 255, 0), "WEBP", WHITE),
        ("CMYK", (255, 255, 0, 0), "JPEG", BLUE),
        ("L", 77, "JPEG", (77, 77, 77)),
        ("I;16", 0x8000, "PNG", (128, 128, 128)),
        ("I;16", 300, "PNG", (1, 1, 1)),
    ],
)
def test_every_mode_becomes_rgb_over_white(
    mode: str, color: object, form: str, wanted: tuple[int, int, int]
) -> None:
    """Alpha lets white through; 16 bits are scaled, not cut off."""
    options = {"lossless": True} if form == "WEBP" else {}
    image = decode(saved(plain(mode, color=color), form, **options), LIMITS)
    assert image.mode == "RGB"
    assert near(image.getpixel((3, 3)), wanted, 1 if form != "JPEG" else 6)


def test_a_transparent_palette_colour_lets_white_through() -> None:
    """In PNG and GIF alike, and in greys and colours that tRNS names."""
    image = plain("P", color=1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    for form in ("PNG", "GIF"):
        assert decode(saved(image, form, transparency=1), LIMITS).getpixel((0, 0)) == WHITE
        assert decode(saved(image, form, transparency=0), LIMITS).getpixel((0, 0)) == BLUE
    for mode, color in (("L", 9), ("RGB", RED)):
        assert (
            decode(saved(plain(mode, color=color), "PNG", transparency=color), LIMITS).getpixel((0, 0))
            == WHITE
        )
    grey = png(2, 1, depth=16, rows=b"\0\x12\x34\x56\x78", extra=chunk(b"tRNS", b"\x12\x34"))
    image = decode(grey, LIMITS)
    assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == (WHITE, (0x56, 0x56, 0x56))


def test_sixteen_bits_of_colour_are_scaled() -> None:
    """The upper eight bits of each colour remain, with and without alpha."""
    image = decode(png(1, 1, depth=16, color=2, rows=b"\0\x80\xff\x01\x00\xfe\x00"), LIMITS)
    assert image.getpixel((0, 0)) == (0x80, 0x01, 0xFE)
    image = decode(png(1, 1, depth=16, color=4, rows=b"\0\x40\x00\xff\xff"), LIMITS)
    assert image.getpixel((0, 0)) == (0x40, 0x40, 0x40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", pytest.param("AVIF", marks=AVIF)])
def test_pictures_stand_upright(form: str, orientation: int) -> None:
    """EXIF orientation is applied, in each of its eight values, and nothing is left to apply again."""
    image = plain(size=(40, 24), color=WHITE)
    image.paste(RED, (0, 0, 20, 12))
    data = saved(image, form, exif=exif(orientation))
    found = decode(data, LIMITS)
    corners = {(0, 0): 1, (1, 0): 2, (1, 1): 3, (0, 1): 4}
    width, height = found.size
    assert found.size == ((40, 24) if orientation < 5 else (24, 40))
    red = [
        number
        for (right, low), number in corners.items()
        if near(found.getpixel((5 + right * (width - 10), 5 + low * (height - 10))), RED, 40)
    ]
    assert ImageOps.exif_transpose(found).tobytes() == found.tobytes()
    assert red == [{1: 1, 2: 2, 3: 3, 4: 4, 5: 1, 6: 2, 7: 3, 8: 4}[orientation]]


@pytest.mark.parametrize(
    "block", [b"", b"II*\0", b"MM\0*\0\0\0\x08\0\x05", b"II*\0\xff\xff\xff\xff", b"junk" * 9]
)
def test_broken_exif_leaves_a_picture_as_it_lies(block: bytes) -> None:
    """Viewers show such pictures; so does this."""
    assert orientation_in(b"Exif\0\0" + block) == 1
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
    assert decode(jpeg_with(segment), LIMITS).size == (8, 6)


@given(block=st.binary(max_size=80), order=st.sampled_from([b"II*\0", b"MM\0*"]))
def test_any_exif_has_an_orientation(block: bytes, order: bytes) -> None:
    """It is 1 to 8, whatever the block holds."""
    assert 1 <= orientation_in(b"Exif\0\0" + order + block) <= 8


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_animations_show_their_first_picture(form: str) -> None:
    """Later frames are not looked at."""
    later = [plain(color=BLUE), plain(color=WHITE)]
    data = saved(plain(color=RED), form, save_all=True, append_images=later)
    assert near(decode(data, LIMITS).getpixel((3, 3)), RED)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", pytest.param("AVIF", marks=AVIF)])
def test_one_pixel_is_a_picture(form: str) -> None:
    """The smallest picture there is comes back as it is."""
    assert decode(saved(plain(size=(1, 1)), form), LIMITS).size == (1, 1)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", pytest.param("AVIF", marks=AVIF)])
def test_cut_files_are_refused(form: str) -> None:
    """Half a file is half a picture: nobody is to be shown grey for the rest."""
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    data = saved(noise, form)
    assert "damaged or cut short; send the whole file" in refusal(data[: len(data) // 2])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", pytest.param("AVIF", marks=AVIF)])
def test_limits_are_the_last_allowed_numbers(form: str) -> None:
    """One pixel more is refused, with the numbers, on a side and in all."""
    assert decode(saved(plain(size=(100, 50)), form), SMALL).size == (100, 50)
    assert refusal(saved(plain(size=(101, 2)), form), SMALL).startswith(
        "is 101 x 2 pixels, and a side of at most 100 is decoded; "
    )
    assert refusal(saved(plain(size=(100, 51)), form), SMALL).startswith(
        "is 100 x 51 pixels, and at most 5000 in all are decoded; "
    )


def test_a_thread_of_pixels_is_refused_by_its_side() -> None:
    """1 x 60000 has few pixels, and a side that no model sees."""
    assert "is 1 x 60000 pixels, and a side of at most 16384" in refusal(
        saved(plain(size=(1, 60_000)), "PNG")
    )


def vp8x(width: int, height: int) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(canvas: tuple[int, int], frame: tuple[int, int], disposal: int = 0) -> bytes:
    control = b"!\xf9\x04" + bytes([disposal << 2]) + b"\0\0\0\0"
    return (
        b"GIF89a" + struct.pack("<HH", *canvas) + b"\x80\0\0" + bytes(6) + control
        + b"," + struct.pack("<HHHH", 0, 0, *frame) + b"\0\x02\x02D\x01\0;"
    )  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        png(65_000, 65_000),
        png(2**31 - 1, 2**31 - 1),
        png(12_000, 12_000, depth=1, rows=bytes(1501 * 12_000)),
        gif((65_535, 65_535), (1, 1)),
        gif((1, 1), (65_535, 65_535)),
        gif((1, 1), (65_535, 65_535), disposal=2),
        gif((1, 1), (16_000, 11_000), disposal=2),
        vp8x(16_384, 16_384),
        b"RIFF\x20\0\0\0WEBPVP8L\x05\0\0\0\x2f" + b"\xff" * 20,
        jpeg_with(b"").replace(b"\x00\x11\x08\x00\x06\x00\x08", b"\x00\x11\x08\xff\xff\xff\xff"),
    ],
)
def test_bombs_are_refused_before_they_are_decoded(data: bytes) -> None:
    """A header that announces too much costs no memory, and no time worth naming."""
    assert len(data) < 40_000
    started = time.monotonic()
    sentence = refusal(data)
    assert "pixels" in sentence
    assert "send it smaller" in sentence
    assert time.monotonic() - started < 2


def test_what_a_header_does_not_announce_is_not_decoded() -> None:
    """A PNG of 10 x 10 with rows for 10 x 100000 is a picture of 10 x 10."""
    rows = (b"\0" + bytes([128] * 10)) * 100_000
    tracemalloc.start()
    assert decode(png(10, 10, rows=rows), LIMITS).size == (10, 10)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def profiles() -> bytes:
    bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**20), 9))
    text = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(64 * 2**20), 9))
    return png(1, 1, rows=b"\0\x7f", extra=bomb * 10_000 + text * 20)


def comments() -> bytes:
    return jpeg_with((b"\xff\xe1\x00\x0eExif\0\0" + b"MM\0*xx") * 40_000)


@pytest.mark.parametrize("build", [profiles, comments])
def test_metadata_is_never_unpacked(build: Callable[[], bytes]) -> None:
    """Gigabytes of profiles and text beside a small picture cost nothing, and the picture is shown."""
    data = build()
    started = time.monotonic()
    assert decode(data, LIMITS).mode == "RGB"
    assert time.monotonic() - started < 2


def test_files_of_endless_parts_are_refused() -> None:
    """Fifty thousand segments or chunks are no picture."""
    words = "is a file of more than 50000 parts; save it anew"
    assert refusal(png(1, 1, rows=b"\0\x7f", extra=chunk(b"tEXt", b"") * 60_000)).startswith(words)
    assert refusal(jpeg_with(b"\xff\xfe\x00\x02" * 60_000)).startswith(words)


def test_a_jpeg_in_endless_scans_is_refused() -> None:
    """Each scan of a progressive JPEG goes over the whole picture again."""
    file = saved(plain(size=(64, 64)), "JPEG", progressive=True)
    assert decode(file, LIMITS).size == (64, 64)
    at = file.rindex(b"\xff\xda")
    bomb = file[:at] + file[at:-2] * 200 + file[-2:]
    assert "scans, and at most 100 are decoded; save it anew" in refusal(bomb)


def test_a_jpeg_keeps_what_its_colours_need() -> None:
    """The segments that say how colours are stored stay, others go; what follows the end stays unread."""
    file = jpeg_with(b"\xff\xe2\x00\x06ICCx\xff\xfe\x00\x04hi") + b"\xff\xda" * 1000
    assert b"ICCx" not in bare("jpeg", file).data
    assert b"JFIF" in bare("jpeg", file).data
    assert decode(file, LIMITS).size == (8, 6)
    cmyk = saved(plain("CMYK", color=(0, 255, 255, 0)), "JPEG")
    assert b"Adobe" in bare("jpeg", cmyk).data
    assert near(decode(cmyk, LIMITS).getpixel((2, 2)), (255, 0, 0))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not begin like a picture of any kind; send a PNG"),
        (
            b"BM" + bytes(60),
            "looks like a BMP, which this server cannot decode; send a PNG, JPEG, WebP or GIF",
        ),
        (b"\0\0\0\x0cftypheic" + bytes(60), "a HEIC"),
        (b"\x89PNG\r\n\x1a\n", "begins like a PNG but cannot be decoded: it is damaged or cut short"),
    ],
)
def test_other_files_are_refused_by_kind(data: bytes, words: str) -> None:
    """The sentence says what the file looks like, and what to send."""
    assert words in refusal(data)


@given(
    width=st.integers(1, 3000) | st.just(1),
    height=st.integers(1, 300) | st.just(1),
    most=st.integers(1, 20_000),
)
def test_scaling_keeps_proportions_under_the_limit(width: int, height: int, most: int) -> None:
    """Never more pixels than allowed, never larger, never empty, and off by less than a pixel."""
    image = scaled(Image.new("RGB", (width, height)), most)
    narrow, low = image.size
    assert 1 <= narrow <= width
    assert 1 <= low <= height
    assert narrow * low <= most
    if width * height <= most:
        assert image.size == (width, height)
    elif min(narrow, low) > 1:
        factor = (most / (width * height)) ** 0.5
        assert 0 <= width * factor - narrow < 1.001
        assert 0 <= height * factor - low < 1.001
