"""What the owner can set about computing."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """In which form weights compute."""

    compute: Annotated[
        Literal["auto", "stored", "dense"],
        Doc("`stored` computes on quantised weights, `dense` unpacks them at load; `auto` picks by device."),
    ] = "auto"
