"""A picture file as pixels. Imported only in a process that nobody misses when a decoder takes it down."""

import io
import math
import warnings

import numpy as np
from PIL import Image, features

from allod.core.pictures import PictureRefused
from allod.media.bare import bare, orientation_in
from allod.media.settings import Limits
from allod.media.sniff import SEND_INSTEAD, kind_of, name_of

_FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF"}
if features.check("avif"):
    _FORMATS["avif"] = "AVIF"
try:
    from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
except ImportError:
    pass  # it is not required: a HEIC is then refused
else:
    register_heif_opener()
    _FORMATS["heic"] = "HEIF"

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REDUCING_GAP = 3.0
"""A large picture is first averaged down to this many times the wanted size, which nobody sees afterwards."""


def decode(data: bytes, limits: Limits) -> Image.Image:
    """The picture of a file, the first one where it has several, upright and in RGB over white.

    Args:
        data: the file.
        limits: what it may announce; more is refused before it is decoded.

    Raises:
        PictureRefused: it is too large, damaged, cut short, or of a kind that is not decoded here.
    """
    kind = kind_of(data)
    if kind is None:
        raise PictureRefused(f"does not begin like a picture of any kind; {SEND_INSTEAD}")
    if kind not in _FORMATS:
        raise PictureRefused(f"looks like {name_of(kind)}, which this server cannot decode; {SEND_INSTEAD}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damage that the decoder sees past
            return _decoded(kind, data, limits)
    except PictureRefused:
        raise
    except Image.DecompressionBombError as error:
        raise PictureRefused(
            f"has more than {limits.max_file_pixels} pixels, the most that are decoded; send it smaller"
        ) from error
    except MemoryError as error:
        raise PictureRefused("takes more memory to decode than there is; send it smaller") from error
    except Exception as error:  # decoders raise whatever their reading stumbles over
        raise PictureRefused(
            f"begins like {name_of(kind)} but cannot be decoded: it is damaged or cut short; "
            "send the whole file, or save the picture anew"
        ) from error


def scaled(image: Image.Image, max_pixels: int) -> Image.Image:
    """The picture in the same proportions with at most `max_pixels` pixels; never larger than it was.

    No side becomes shorter than one pixel: the other then takes what is left.
    """
    width, height = image.size
    if width * height <= max_pixels:
        return image
    factor = math.sqrt(max_pixels / (width * height))
    narrow = max(1, min(int(width * factor), max_pixels))
    low = max(1, min(int(height * factor), max_pixels // narrow))
    narrow = min(narrow, max_pixels // low)
    return image.resize((narrow, low), Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _decoded(kind: str, data: bytes, limits: Limits) -> Image.Image:
    file = bare(kind, data)
    if file.size is not None:
        _require_size(file.size, limits)
    image = Image.open(io.BytesIO(file.data), formats=[_FORMATS[kind]])
    _require_size(image.size, limits)
    image.load()
    exif = file.exif or image.info.get("exif", b"")
    turn = _UPRIGHT.get(orientation_in(exif) if isinstance(exif, bytes) else 1)
    flat = _rgb(image)
    upright = flat if turn is None else flat.transpose(turn)
    upright.info.clear()  # or the next library to see it turns it once more
    return upright


def _require_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if max(size) > limits.max_side_pixels:
        raise PictureRefused(
            f"is {width} x {height} pixels, and a side of at most {limits.max_side_pixels} is decoded; "
            "send it smaller, or in pieces"
        )
    if width * height > limits.max_file_pixels:
        raise PictureRefused(
            f"is {width} x {height} pixels, and at most {limits.max_file_pixels} in all are decoded; "
            "send it smaller"
        )


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(clear, mask=clear)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")  # as it is: a copy doubles the memory


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey in 16 bits as grey in 8: Pillow's own conversion takes everything from 255 on for white."""
    values = np.asarray(image)
    grey = (values >> 8).clip(0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey)
