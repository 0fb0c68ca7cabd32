"""What the owner can set about computing and seeing."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """In which form weights compute, and whether models look at pictures."""

    compute: Annotated[
        Literal["auto", "stored", "dense"],
        Doc(
            "`stored` computes on quantised weights, `dense` unpacks them at load; `auto` measures which is "
            "faster for each kind of layer, and unpacks what fits."
        ),
    ] = "auto"
    vision: Annotated[
        Literal["auto", "on", "off"],
        Doc(
            "Whether models that can look at pictures do. `auto` leaves the vision tower out where memory is "
            "short, `on` refuses to load without it, `off` reads text only."
        ),
    ] = "auto"
    picture_cache_bytes: Annotated[
        int,
        Ge(0),
        Doc(
            "Most bytes of pictures that are kept to be read again, and that are on their way; at most an "
            "eighth of the budget is used."
        ),
    ] = 512 * 2**20
