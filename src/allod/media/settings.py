"""What the owner can set about pictures."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

_MIB = 2**20
_LIBRARY_PIXELS = 178_000_000
"""Beyond this Pillow refuses on its own, and in its own words."""


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """How many pictures a request may bring, how large they may be, and where they may come from."""

    max_pictures: Annotated[int, Ge(1), Le(1024), Doc("Most pictures in one request.")] = 64
    max_picture_bytes: Annotated[int, Ge(1024), Doc("Longest file of a picture.")] = 20 * _MIB
    max_picture_side_pixels: Annotated[
        int, Ge(1), Le(65_535), Doc("Longest side of a picture, in pixels, as its file announces it.")
    ] = 16_384
    max_file_pixels: Annotated[
        int, Ge(1), Le(_LIBRARY_PIXELS), Doc("Most pixels of a picture, as its file announces them.")
    ] = 100_000_000
    max_pixels: Annotated[
        int,
        Ge(1024),
        Le(_LIBRARY_PIXELS),
        Doc("Most pixels that a model sees; a larger picture is made smaller, in the same proportions."),
    ] = 4_194_304
    low_detail_pixels: Annotated[
        int, Ge(1024), Le(_LIBRARY_PIXELS), Doc("The same for pictures sent with detail `low`.")
    ] = 262_144
    allow_urls: Annotated[
        bool, Doc("Fetch pictures that requests name by an http or https address. Off, they are refused.")
    ] = False
    url_timeout_seconds: Annotated[
        float, Gt(0), Le(300), Doc("Longest that fetching one picture may take, redirects included.")
    ] = 10.0
    max_redirects: Annotated[int, Ge(0), Le(20), Doc("Most redirects that are followed for one picture.")] = 3
    allow_private_addresses: Annotated[
        bool,
        Doc(
            "Fetch from this machine and its own network too: a caller then reaches what the server reaches."
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may announce before it is decoded.

    Attributes:
        max_side_pixels: the longest side.
        max_file_pixels: width times height.
    """

    max_side_pixels: int
    max_file_pixels: int

    @classmethod
    def of(cls, settings: MediaSettings) -> "Limits":
        """The limits among the settings."""
        return cls(settings.max_picture_side_pixels, settings.max_file_pixels)
